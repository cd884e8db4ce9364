"""Ridge regression from standardised features onto one-hot targets, linear or with a Gaussian kernel."""

from functools import cached_property

import torch
from torch import Tensor

from .ridge import coefficients


class FeatureRegression:
    """f(x) = t + k(x, X) (k(X, X) + r m I)^-1 (Y - t), t the mean of the targets Y, m that of k(x, x) over X.

    k(x, y) = <x, y>, or exp(-|x - y|^2 / (b D)), D the mean of |x - y|^2 over all pairs of X; b is the ``bandwidth``.
    Features are centred and scaled by the means and standard deviations of X, which the constant ones keep.

    Args:
        fitted: (n, d), the features X of the images to fit.
        others: (m, d), those of the images to predict.
        targets: (n, K), Y.

    Cost: n^2 d multiplications once, and n m d more with a Gaussian kernel; n^3 / 3 for every regulariser, all in the
    type of the features. The linear regression with d < n solves for the features' weights instead, at n d^2 once and
    d^3 / 3. Memory: 4 n^2 numbers, or 4 d^2, and 2 n m with a Gaussian kernel, beside the standardised features.
    """

    def __init__(self, fitted: Tensor, others: Tensor, targets: Tensor):
        deviation, mean = torch.std_mean(fitted, dim=0, correction=0)
        rounding = 10 * torch.finfo(fitted.dtype).eps * mean.abs()
        deviation = torch.where(deviation > rounding, deviation, torch.ones_like(deviation))
        self.fitted, self.others = ((features - mean).div_(deviation) for features in (fitted, others))
        self.offset = targets.mean(0).to(fitted)
        self.targets = targets.to(fitted) - self.offset

    def outputs(self, regulariser: float, bandwidth: float | None = None) -> tuple[Tensor, Tensor] | None:
        """f of the fitted images (n, K) and of the others (m, K), linear if there is no ``bandwidth``.

        None if the regulariser is too small for the type's rounding.
        """
        found = self._linear(regulariser) if bandwidth is None else self._gaussian(regulariser, bandwidth)
        return None if found is None else (found[0] + self.offset, found[1] + self.offset)

    def _linear(self, regulariser: float) -> tuple[Tensor, Tensor] | None:
        x, (n, d) = self.fitted, self.fitted.shape
        if d < n:
            # r m I of the kernel is r d / n times the mean eigenvalue of X^T X, whose trace is the kernel's.
            weights = coefficients(self._covariance, x.T @ self.targets, regulariser * d / n)
        else:
            dual = coefficients(self._products, self.targets, regulariser)
            weights = None if dual is None else x.T @ dual
        return None if weights is None else (x @ weights, self.others @ weights)

    def _gaussian(self, regulariser: float, bandwidth: float) -> tuple[Tensor, Tensor] | None:
        squares = [features.square().sum(1) for features in (self.fitted, self.others)]
        width = bandwidth * 2 * squares[0].mean()  # the features of X have the mean 0
        kernels = []
        for products, own in zip((self._products, self._cross_products), squares, strict=True):
            distances = (-2 * products).add_(own[:, None]).add_(squares[0])
            kernels.append(distances.clamp_(min=0).div_(-width).exp_())
        dual = coefficients(kernels[0], self.targets, regulariser)
        return None if dual is None else (kernels[0] @ dual, kernels[1] @ dual)

    @cached_property
    def _covariance(self) -> Tensor:
        return self.fitted.T @ self.fitted

    @cached_property
    def _products(self) -> Tensor:
        return self.fitted @ self.fitted.T

    @cached_property
    def _cross_products(self) -> Tensor:
        return self.others @ self.fitted.T
