"""The ViT sizes of the V-JEPA papers, by the field's names."""

from typing import Literal, NamedTuple

EncoderSize = Literal["tiny", "small", "base", "large", "huge", "giant", "gigantic"]


class Size(NamedTuple):
    embed_dim: int
    depth: int
    num_heads: int
    mlp_ratio: float


# "giant" and "gigantic" are the released ViT-g and ViT-G (64 channels per head).
SIZES: dict[EncoderSize, Size] = {
    "tiny": Size(192, 12, 3, 4.0),
    "small": Size(384, 12, 6, 4.0),
    "base": Size(768, 12, 12, 4.0),
    "large": Size(1024, 24, 16, 4.0),
    "huge": Size(1280, 32, 16, 4.0),
    "giant": Size(1408, 40, 22, 48 / 11),
    "gigantic": Size(1664, 48, 26, 64 / 13),
}

# V-JEPA 2.1's supervised levels by depth; that ViT-G's third one is not at three quarters is as released.
OUTPUT_LEVELS = {12: (2, 5, 8, 11), 24: (5, 11, 17, 23), 40: (9, 19, 29, 39), 48: (11, 23, 37, 47)}
