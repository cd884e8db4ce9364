"""The default keys of the networks of this room."""

import inspect

from .build import torchvision_model
from .mlp import mlp, two_layer
from .ntk_mlp import ntk_mlp
from .resnet import resnet18
from .vgg import vgg11

PREFIX = "lazytorch.models."
BUILDERS = {builder.__name__: builder for builder in (mlp, ntk_mlp, resnet18, torchvision_model, two_layer, vgg11)}


def signature_defaults(target: str) -> dict[str, object]:
    """The keys with a default, and the default, of a ``lazytorch.models.X``; none of any other target.

    Nothing is imported or called. Of classes, channels and size the data may say otherwise when the network is built.
    """
    builder = BUILDERS.get(target.removeprefix(PREFIX)) if target.startswith(PREFIX) else None
    if builder is None:
        return {}
    parameters = inspect.signature(builder).parameters.values()
    return {parameter.name: parameter.default for parameter in parameters if parameter.default is not parameter.empty}
