"""The learning-rate schedule of the paper."""


def learning_rate(lr: float, beta: float, epoch: int) -> float:
    """eta_t = eta_0 / (1 + beta t), with t the epoch from 0 (Chizat, Oyallon & Bach 2019, section 3.2)."""
    return lr / (1 + beta * epoch)
