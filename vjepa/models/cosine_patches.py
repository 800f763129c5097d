"""A patch embedding that starts as discrete cosines, so that tokens of an untrained encoder tell what a patch shows."""

from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor, nn

GAIN, OFFSET = 0.05, 0.7
CHROMA_RANK = 0.9  # a colour difference comes after the brightness of the same frequency, before that of the next


@torch.no_grad()
def start_as_cosines(projection: nn.Conv3d) -> None:
    """Set weights to the lowest frequencies of a tubelet's three-dimensional cosine transform, and a large random bias.

    The rows are orthogonal and nearly the principal components of natural patches, which random rows mix (Ahmed,
    Natarajan and Rao 1974). The bias is larger than what patches add to it, so that layer norm stays almost linear and
    keeps contrast. Raises ValueError where the embedding is wider than a tubelet has values.
    """
    width, channels, frames, height, patch_width = projection.weight.shape
    num_values = channels * frames * height * patch_width
    if width > num_values or channels != 3:
        raise ValueError(
            f"patch_init: cosine needs an embed_dim ({width}) of at most the {num_values} values of a tubelet"
        )
    sides = [cosines(length) for length in (frames, height, patch_width)]
    basis = torch.einsum("kc,at,by,dx->kabdctyx", opponent_colours(), *sides).flatten(0, 3)
    frequencies = [
        sum(frequency) + CHROMA_RANK * (colour > 0)
        for colour, *frequency in product(range(3), range(frames), range(height), range(patch_width))
    ]
    lowest = torch.tensor(frequencies).argsort(stable=True)[:width]
    projection.weight.copy_(GAIN * basis[lowest])
    if projection.bias is not None:
        projection.bias.normal_(std=OFFSET)


def cosines(length: int) -> Float[Tensor, "length length"]:  # (frequency, place), orthonormal
    """The discrete cosine transform DCT-II."""
    frequency, place = torch.arange(length)[:, None], torch.arange(length)[None]
    rows = (2 / length) ** 0.5 * torch.cos(torch.pi * (place + 0.5) * frequency / length)
    rows[0] /= 2**0.5
    return rows


def opponent_colours() -> Float[Tensor, "3 3"]:  # brightness, red minus green, yellow minus blue; orthonormal
    rows = torch.tensor([[1.0, 1.0, 1.0], [1.0, -1.0, 0.0], [1.0, 1.0, -2.0]])
    return rows / rows.norm(dim=1, keepdim=True)
