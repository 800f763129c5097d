"""Ridge regression, as linear read-outs of latents are fitted by."""

import torch
from torch import Tensor

RIDGE = 1e-4  # share of the inputs' mean variance


def ridge_regression(
    x: Tensor,  # (R, F) centred
    y: Tensor,  # (R, S) centred
) -> Tensor:  # (F, S)
    """Solved on the smaller side: features, or rows. Unpooled latents have a hundred thousand features."""
    rows, features = x.shape
    penalty = RIDGE * rows * x.square().mean() + 1e-9
    eye = torch.eye(min(rows, features), dtype=x.dtype, device=x.device)
    if features <= rows:
        return torch.linalg.solve(x.T @ x + penalty * eye, x.T @ y)
    return x.T @ torch.linalg.solve(x @ x.T + penalty * eye, y)
