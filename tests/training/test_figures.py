"""The picture of a run's layers."""

import pytest

from lazytorch.training.figures import layers_image


@pytest.mark.parametrize("count", (0, 1, 9, 120))
def test_any_number_of_layers_is_drawn(count):
    rows = [
        {
            "epoch": epoch,
            "activation_stability_by_layer": {f"stage.{k}.relu": 1 - 0.01 * epoch for k in range(count)},
            "displacement_by_module": {f"stage.{k}.conv": None if k == 3 else 0.1 * epoch for k in range(count)},
        }
        for epoch in range(3)
    ]
    image = layers_image(rows)
    assert image.shape[2] == 3 and image.dtype == "uint8"
    colours = {tuple(pixel) for pixel in image.reshape(-1, 3)[::7].tolist()}
    assert len(colours) > (3 if count == 0 else 20)
