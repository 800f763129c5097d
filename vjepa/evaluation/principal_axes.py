"""The first three principal axes of tokens, for colours and for telling objects from ground."""

import torch
from jaxtyping import Float
from torch import Tensor


@torch.no_grad()
def principal_axes(
    tokens: Float[Tensor, "... D"],
    before: Float[Tensor, "D 3"] | None = None,  # axes that features were drawn by before
) -> Float[Tensor, "D 3"]:  # orthonormal
    """The first three principal axes of tokens.

    Given earlier axes, they are rotated and mirrored to lie as near to those as possible (orthogonal Procrustes), so
    that colours keep their meaning while features change.
    """
    matrix = tokens.detach().flatten(0, -2).double()
    matrix = matrix - matrix.mean(dim=0)
    axes = torch.linalg.eigh(matrix.T @ matrix).eigenvectors[:, -3:].flip(-1)
    if before is None:
        return axes.float()
    left, _, right = torch.linalg.svd(axes.T @ before.double())
    return (axes @ left @ right).float()
