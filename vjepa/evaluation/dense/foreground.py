"""Objects without any label: the frozen tokens of one video in groups, of which those that fill the border are ground.

By the first principal component (as DINOv2's pictures, arXiv 2304.07193) or by k-means.
"""

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from vjepa.evaluation.principal_axes import principal_axes

TOKENS_TO_CLUSTER = 2000  # evenly chosen; the others join the nearest cluster


def component_foreground(maps: Float[Tensor, "T h w D"]) -> Float[Tensor, "T h w"]:
    """Positive where a token is foreground: its coordinate on the first principal axis, less Otsu's threshold.

    The sign is such that less than half of the border is foreground.
    """
    coordinates = (maps - maps.mean((0, 1, 2))) @ principal_axes(maps)[:, 0]
    scale = float(coordinates.abs().max())
    if scale < 1e-6:  # all tokens are alike
        return torch.full_like(coordinates, -1.0)
    levels = ((coordinates / scale + 1) * 127.5).round().numpy().astype(np.uint8)
    threshold, _ = cv2.threshold(levels.reshape(-1, 1), 0, 1, cv2.THRESH_OTSU)
    above = coordinates - ((threshold + 0.5) / 127.5 - 1) * scale
    return -above if (above > 0)[:, at_border(maps)].float().mean() > 0.5 else above


def cluster_foreground(maps: Float[Tensor, "T h w D"], num_clusters: int = 4, seed: int = 0) -> Float[Tensor, "T h w"]:
    """1 where a token is foreground and -1 where it is ground, by k-means.

    A cluster is ground if it covers at least 1 / `num_clusters` of the border.
    """
    tokens = maps.flatten(0, 2)
    some = tokens[:: -(-len(tokens) // TOKENS_TO_CLUSTER)]
    cv2.setRNGSeed(seed + 1)  # 0 means another one each time
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
    options = (criteria, 3, cv2.KMEANS_PP_CENTERS)
    centres = cv2.kmeans(some.numpy(), num_clusters, None, *options)[2]  # type: ignore[call-overload]
    clusters = torch.cdist(tokens, torch.from_numpy(centres)).argmin(dim=1).view(maps.shape[:3])
    on_border = torch.bincount(clusters[:, at_border(maps)].flatten(), minlength=num_clusters)
    is_ground = on_border * num_clusters >= on_border.sum()
    return torch.where(is_ground[clusters], -1.0, 1.0)


def at_border(maps: Float[Tensor, "T h w D"]) -> Bool[Tensor, "h w"]:
    """The outermost tokens of a frame."""
    border = torch.ones(maps.shape[1:3], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return border
