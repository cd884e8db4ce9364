import math
from unittest import mock

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as vision
from torch._subclasses.fake_tensor import FakeTensorMode

from lazytorch.data import DeviceData

N, SIDE = 23, 9
MEAN, STD = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def images(n=N, channels=3):
    return torch.randint(
        256, (n, channels, SIDE, SIDE + 1), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def reference(inputs, draws, augment):
    """One image after the other, with torchvision."""
    served = []
    for index, mirrored, top, left in draws.T.tolist():
        image = inputs[index]
        if augment == "crop_flip":
            image = vision.crop(vision.pad(image, 4), top, left, SIDE, SIDE + 1)
        if augment != "none" and mirrored:
            image = vision.hflip(image)
        served.append(image)
    return torch.stack(served)


def collect(batches):
    inputs, labels = zip(*batches, strict=True)
    return torch.cat(inputs), torch.cat(labels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_epoch_agrees_with_the_reference(augment, dtype):
    inputs, labels = images(), torch.arange(N)
    data = DeviceData(inputs, labels, augment=augment, mean=MEAN, std=STD, dtype=dtype)
    draws = data._draws(seed=3, epoch=5)
    x, y = collect(data.epoch(4, seed=3, epoch=5))
    mean, std = (torch.tensor(value, dtype=dtype)[:, None, None] for value in (MEAN, STD))
    expected = (reference(inputs, draws, augment).to(dtype) / 255 - mean) / std
    assert torch.equal(x, expected) and x.dtype == dtype and x.is_contiguous()
    assert torch.equal(y, draws[0]) and y.sort().values.tolist() == list(range(N))


def test_every_draw_occurs_evenly():
    data = DeviceData(images(n=1).expand(20000, -1, -1, -1), torch.zeros(20000))
    _, mirrored, top, left = data._draws(0, 0)
    assert abs(mirrored.double().mean() - 0.5) < 5 * 0.5 / 20000**0.5
    for corner in (top, left):
        counts = corner.bincount()
        assert len(counts) == 9 and ((counts - 20000 / 9).abs() < 5 * (20000 * 8 / 81) ** 0.5).all()


def test_the_last_partial_batch_is_kept():
    data = DeviceData(images(), torch.arange(N))
    for batches in (data.epoch(5, 0, 0), data.ordered(5)):
        assert [len(x) for x, _ in batches] == [5, 5, 5, 5, 3]


@pytest.mark.parametrize("start", [0, 2, 4, 5, 9])
def test_start_skips_batches(start):
    data = DeviceData(images(), torch.arange(N), augment="crop_flip")
    whole = list(data.epoch(5, 1, 2))[start:]
    late = list(data.epoch(5, 1, 2, start=start))
    assert len(late) == len(whole)
    for (x, y), (x_late, y_late) in zip(whole, late, strict=True):
        assert torch.equal(x, x_late) and torch.equal(y, y_late)


def test_seeds_and_epochs_give_different_orders():
    data = DeviceData(images(), torch.arange(N))
    orders = {tuple(collect(data.epoch(5, seed, epoch))[1].tolist()) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16
    first, again = (collect(data.epoch(5, 1, 3))[1] for _ in range(2))
    assert torch.equal(first, again)


def test_the_order_does_not_depend_on_the_augmentation_or_the_batch_size():
    orders = [
        collect(DeviceData(images(), torch.arange(N), augment=augment).epoch(batch_size, 0, 1))[1].tolist()
        for augment, batch_size in (("none", 5), ("flip", 7), ("crop_flip", 23))
    ]
    assert orders[0] == orders[1] == orders[2]


def test_the_global_generator_is_left_alone():
    before = torch.get_rng_state()
    collect(DeviceData(images(), torch.arange(N), augment="crop_flip").epoch(5, 0, 0))
    assert torch.equal(torch.get_rng_state(), before)


def test_evaluation_is_unaugmented_and_in_order():
    inputs, labels = images(), torch.arange(N)
    data = DeviceData(inputs, labels, augment="crop_flip")
    x, y = collect(data.ordered(4))
    assert torch.equal(x, inputs / 255) and torch.equal(y, labels)
    for got, expected in zip(data.head(7), (x[:7], y[:7]), strict=True):
        assert torch.equal(got, expected)
    assert len(data) == N and len(data.head(100)[0]) == N
    assert torch.equal(data.take(torch.tensor([5, 2]))[1], torch.tensor([5, 2]))


def test_floating_inputs_and_targets_pass_through():
    inputs, targets = torch.randn(N, 3, 2), torch.randn(N, 2)
    data = DeviceData(inputs, targets, dtype=torch.float64)
    x, y = data.head(N)
    assert torch.equal(x, inputs.double()) and torch.equal(y, targets.double())
    x, y = collect(data.epoch(4, 0, 0))
    assert torch.equal(x, inputs.double()[data._draws(0, 0)[0]])


def test_batches_are_copies():
    inputs = torch.randn(N, 2)
    data = DeviceData(inputs, torch.arange(N))
    before = inputs.clone()
    for batches in (data.ordered(5), data.epoch(5, 0, 0), [data.head(3)]):
        for x, _ in batches:
            x.zero_()
    assert torch.equal(inputs, before)


def test_small_integer_labels_become_int64():
    assert DeviceData(images(), torch.zeros(N, dtype=torch.uint8)).head(2)[1].dtype == torch.int64


@pytest.mark.skipif(
    torch.__version__ < (2, 7) and not torch.cuda.is_available(), reason="torch 2.6 looks for the GPU of a fake tensor"
)
@pytest.mark.parametrize("augment", ["none", "flip", "crop_flip"])
def test_all_tensors_live_on_the_device(augment):
    # Fake tensors refuse to mix devices and to read values, as a synchronisation would.
    with FakeTensorMode():
        inputs, labels = torch.zeros(N, 3, 9, 9, dtype=torch.uint8), torch.zeros(N, dtype=torch.int64)
        with mock.patch.object(torch.Tensor, "__bool__", lambda tensor: True):  # values are checked, once
            data = DeviceData(inputs, labels, device="cuda", augment=augment, mean=MEAN, std=STD)
        batches = [*data.epoch(5, 0, 0), *data.ordered(5), data.head(3)]
    assert len(batches) == 11
    assert all(x.device.type == y.device.type == "cuda" and x.shape[1:] == (3, 9, 9) for x, y in batches)


@pytest.mark.cuda
def test_cuda_gives_the_same_batches():
    inputs, labels = images(), torch.arange(N)
    host, device = (
        DeviceData(inputs, labels, device=name, augment="crop_flip", mean=MEAN, std=STD, dtype=torch.float64)
        for name in ("cpu", "cuda")
    )
    for (x, y), (x_device, y_device) in zip(host.epoch(5, 0, 0), device.epoch(5, 0, 0), strict=True):
        torch.testing.assert_close(x, x_device.cpu())
        assert torch.equal(y, y_device.cpu())


def zeros(*shape):
    return torch.zeros(*shape, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (zeros(3, 1, 4, 4), torch.zeros(2).long(), {}, "for 3 inputs"),
        (zeros(0, 1, 4, 4), torch.zeros(0).long(), {}, "no example"),
        (zeros(3, 1, 4, 4), torch.zeros(3, 2).long(), {}, "floating"),
        (zeros(3, 16), torch.zeros(3).long(), {}, r"images \(N, C, H, W\)"),
        (zeros(3, 1, 4, 4), torch.zeros(3).long(), {"augment": "rotate"}, "choose one of none, flip, crop_flip"),
        (zeros(3, 1, 4, 4), torch.zeros(3).long(), {"mean": MEAN}, "3 numbers for 1 channels"),
        (zeros(3, 1, 4, 4), torch.zeros(3).long(), {"std": (0.0,)}, "not positive"),
        (torch.zeros(3, 2), torch.zeros(3).long(), {"augment": "flip"}, "data.augment=none"),
        (torch.zeros(3, 2), torch.zeros(3).long(), {"std": (1.0,)}, "normalise the inputs beforehand"),
        (torch.zeros(3, 0), torch.zeros(3).long(), {}, "no example"),
        (torch.zeros(3, 2), torch.zeros(3, 0), {}, "for 3 inputs"),
        (torch.zeros(3, 2), torch.zeros(3).cfloat(), {}, "class indices or floating targets"),
        (torch.zeros(3, 2).to(torch.uint16), torch.zeros(3).long(), {}, "make them floating"),
        (torch.zeros(3, 2), torch.tensor([0, -1, 2]), {}, "a label is -1: number the classes from 0"),
        (torch.tensor([[0.0, 1], [2, math.nan]]), torch.zeros(2).long(), {}, "inputs hold .* first in example 1"),
        (torch.tensor([0.0, 1, -math.inf]), torch.zeros(3).long(), {}, "inputs hold .* first in example 2"),
        (torch.zeros(3, 2), torch.tensor([0, math.inf, math.nan]), {}, "labels hold .* first in example 1"),
        (torch.full((3, 2), 1e300, dtype=torch.float64), torch.zeros(3), {}, r"not finite in torch\.float32"),
        (zeros(3, 1, 4, 4), torch.zeros(3).long(), {"mean": (math.nan,)}, "mean=.nan,. is not finite"),
        (zeros(3, 1, 4, 4), torch.zeros(3).long(), {"std": (math.inf,)}, "std=.inf,. is not finite"),
    ],
)
def test_wrong_arguments_are_refused(inputs, labels, options, message):
    with pytest.raises(ValueError, match=message):
        DeviceData(inputs, labels, **options)


@pytest.mark.parametrize(
    ("inputs", "labels", "options", "message"),
    [
        (np.array([["a"], [None]], dtype=object), np.zeros(2), {}, "inputs: an array of dtype object"),
        (np.zeros((2, 1)), np.array(["cat", "dog"]), {}, "labels: an array of dtype <U3 .*astype"),
        ([[0.0], [1.0]], torch.zeros(2), {}, "inputs: a list is no tensor"),
        (torch.zeros(2, 1), None, {}, "labels: a NoneType is no tensor"),
        (zeros(3, 1, 4, 4), torch.zeros(3).long(), {"mean": 0.5}, "mean is 0.5: give one number a channel"),
    ],
)
def test_wrong_types_are_refused(inputs, labels, options, message):
    with pytest.raises(TypeError, match=message):
        DeviceData(inputs, labels, **options)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64, ">f4"])
def test_numpy_arrays_are_tensors(dtype):
    inputs = images().numpy().astype(dtype)
    labels = np.arange(N, dtype=np.uint16)
    expected = DeviceData(torch.from_numpy(inputs.astype(np.dtype(dtype).newbyteorder("="))), torch.arange(N))
    inputs.setflags(write=False)
    for left, right in ((inputs, labels), (inputs[::-1][::-1], labels[::-1][::-1])):
        for got, wanted in zip(DeviceData(left, right).head(N), expected.head(N), strict=True):
            assert torch.equal(got, wanted) and got.dtype == wanted.dtype


def test_the_fingerprint_tells_apart_whatever_changes_the_batches():
    labels = torch.arange(N)
    settings = [{}, {"augment": "flip"}, {"augment": "crop_flip"}, {"mean": MEAN}, {"std": STD}]
    settings += [{"mean": MEAN, "std": STD}, {"mean": (0.4914, 0.4822, 0.4466), "std": STD}, {"std": MEAN}]
    prints = [DeviceData(images(), labels, **options).fingerprint() for options in settings]
    assert len(set(prints)) == len(settings)
    assert DeviceData(images(), labels, mean=(0, 0, 0), std=np.ones(3)).fingerprint() == prints[0]  # the default
    assert DeviceData(images(), labels, mean=MEAN, dtype=torch.float64).fingerprint() == prints[3]
    assert DeviceData(images(), labels.float()).fingerprint() != prints[0]


@pytest.mark.cuda
def test_the_fingerprint_is_the_same_on_cuda():
    prints = {DeviceData(images(), torch.arange(N), device=name, mean=MEAN).fingerprint() for name in ("cpu", "cuda")}
    assert len(prints) == 1


@pytest.mark.parametrize(("batch_size", "start"), [(0, 0), (4, -1)])
def test_wrong_batches_are_refused(batch_size, start):
    with pytest.raises(ValueError, match="must be at least 1 and 0"):
        next(DeviceData(images(), torch.arange(N)).epoch(batch_size, 0, 0, start))
