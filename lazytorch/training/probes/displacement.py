"""How far the weights have moved."""

from torch import Tensor

from ...anchored import Anchored
from .probe import Probe


class Displacement(Probe):
    """|w - w_0| / |w_0|, in total and by module, and |theta|. Costs nothing."""

    name = "displacement"
    quantities = ("displacement", "theta_norm", "displacement_by_module")

    def __init__(self, x: Tensor | None = None):
        self.x = x

    def __call__(self, model: Anchored) -> dict:
        return {
            "displacement": model.displacement(),
            "theta_norm": model.theta_norm(),
            "displacement_by_module": model.displacement_by_module(),
        }
