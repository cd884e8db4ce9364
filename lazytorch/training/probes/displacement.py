"""How far the weights have moved."""

from ...anchored import Anchored
from .probe import Probe


class Displacement(Probe):
    """|w - w_0| / |w_0|, in total and by module, and |theta|. Costs nothing."""

    quantities = ("displacement", "theta_norm", "displacement_by_module")

    def __init__(self, x=None):
        super().__init__(x)

    def __call__(self, model: Anchored) -> dict:
        return {
            "displacement": model.displacement(),
            "theta_norm": model.theta_norm(),
            "displacement_by_module": model.displacement_by_module(),
        }
