"""Ridge regression, for linear read-outs of latents."""

import torch
from jaxtyping import Float
from torch import Tensor

RIDGE = 1e-4  # of the inputs' mean variance


def ridge_regression(
    x: Float[Tensor, "R F"],  # centred
    y: Float[Tensor, "R S"],  # centred
) -> Float[Tensor, "F S"]:
    """Solved in the smaller of features and rows: unpooled latents have a hundred thousand features."""
    rows, features = x.shape
    penalty = RIDGE * rows * x.square().mean() + 1e-9
    eye = torch.eye(min(rows, features), dtype=x.dtype, device=x.device)
    if features <= rows:
        return torch.linalg.solve(x.T @ x + penalty * eye, x.T @ y)
    return x.T @ torch.linalg.solve(x @ x.T + penalty * eye, y)
