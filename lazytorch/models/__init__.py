"""Networks: the paper's VGG-11 and ResNet-18, fully connected nets, torchvision's, the user's own."""

from .build import custom, torchvision_model
from .defaults import signature_defaults as signature_defaults
from .mlp import mlp, two_layer
from .ntk_mlp import ntk_mlp
from .resnet import resnet18
from .targets import find_target as find_target
from .vgg import vgg11

__all__ = ["custom", "mlp", "ntk_mlp", "resnet18", "torchvision_model", "two_layer", "vgg11"]  # the networks alone
