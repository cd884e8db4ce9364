"""Networks: the paper's VGG-11 and ResNet-18, fully connected nets, torchvision's, the user's own."""

from lazytorch.models.build import custom, torchvision_model
from lazytorch.models.mlp import mlp, two_layer
from lazytorch.models.resnet import resnet18
from lazytorch.models.vgg import vgg11

__all__ = ["custom", "mlp", "resnet18", "torchvision_model", "two_layer", "vgg11"]
