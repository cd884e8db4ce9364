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

    Cost: n (n + m) d operations once; for every regulariser n^3 / 3, in the type of the features. The linear
    regression with d < n is done on the features instead, at n d^2 and d^3 / 3. Memory: 4 n^2 numbers, or 4 d^2, beside
    the standardised features.
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
        n, d = self.fitted.shape
        if bandwidth is None and d < n:
            # r m I of the kernel is r d / n times the mean eigenvalue of F^T F: its trace is the kernel's.
            left, right, gram, targets = self.fitted, self.others, self._covariance, self.fitted.T @ self.targets
            regulariser *= d / n
        else:
            left, right = self._kernels(bandwidth)
            gram, targets = left, self.targets
        found = coefficients(gram, targets, regulariser)
        return None if found is None else (left @ found + self.offset, right @ found + self.offset)

    @cached_property
    def _covariance(self) -> Tensor:
        return self.fitted.T @ self.fitted

    @cached_property
    def _products(self) -> tuple[Tensor, Tensor]:
        return self.fitted @ self.fitted.T, self.others @ self.fitted.T

    def _kernels(self, bandwidth: float | None) -> tuple[Tensor, Tensor]:
        """k(X, X) and k(Z, X) of the others Z."""
        if bandwidth is None:
            return self._products
        squares = [features.square().sum(1) for features in (self.fitted, self.others)]
        width = bandwidth * 2 * squares[0].mean()  # the features of X have the mean 0
        kernels = []
        for products, own in zip(self._products, squares, strict=True):
            distances = (-2 * products).add_(own[:, None]).add_(squares[0])
            kernels.append(distances.clamp_(min=0).div_(-width).exp_())
        return kernels[0], kernels[1]
