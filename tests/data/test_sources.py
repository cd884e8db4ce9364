import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lazytorch.data import DeviceData, ImageSet, as_device_data

INPUTS, LABELS = torch.arange(12.0).reshape(6, 2), torch.tensor([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize(
    "data",
    [
        (INPUTS, LABELS),
        [INPUTS, LABELS],
        (INPUTS.numpy(), LABELS.numpy()),
        (INPUTS.numpy(), LABELS),
        TensorDataset(INPUTS, LABELS),
    ],
    ids=["tuple", "list", "numpy", "mixed", "dataset"],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_form_serves_the_same(data, dtype):
    x, y = as_device_data(data, "cpu", dtype).head(6)
    assert torch.equal(x, INPUTS.to(dtype)) and x.dtype == dtype and torch.equal(y, LABELS)


def test_image_sets():
    images = torch.arange(48, dtype=torch.uint8).reshape(3, 1, 4, 4)
    data = as_device_data(ImageSet(images, torch.arange(3), ("a", "b", "c")), torch.device("cpu"), torch.float32)
    assert torch.equal(data.head(3)[0], images / 255)


def test_device_data_come_back_as_they_are():
    data = DeviceData(INPUTS, LABELS)
    assert as_device_data(data, torch.device("cpu"), torch.float32) is data
    with pytest.raises(ValueError, match=r"the data is on cpu in torch\.float32, the model on cpu in torch\.float64"):
        as_device_data(data, "cpu", torch.float64)
    with pytest.raises(ValueError, match="device=meta"):
        as_device_data(data, "meta", torch.float32)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (DataLoader(TensorDataset(INPUTS, LABELS)), r"a DataLoader .* loader\.dataset"),
        ((INPUTS,), r"data is a tuple of 1: give .*\(inputs, labels\)"),
        ([(INPUTS[0], 0)] * 6, "data is a list of 6"),
        (INPUTS, "data is a Tensor"),
        (INPUTS.numpy(), "data is a ndarray"),
        ({"x": INPUTS, "y": LABELS}, "data is a dict"),
        (None, "data is a NoneType"),
        (Dataset(), "Dataset has no length"),
        ((INPUTS, LABELS.tolist()), "labels: a list is no tensor"),
        ((np.array([object()] * 6), LABELS), "inputs: an array of dtype object"),
    ],
)
def test_other_data_are_refused_in_one_line(data, message):
    with pytest.raises(TypeError, match=message) as caught:
        as_device_data(data, "cpu", torch.float32)
    assert "\n" not in str(caught.value)
