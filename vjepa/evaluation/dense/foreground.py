"""Objects without any label: the frozen tokens of one video in two groups, of which the one at the border is ground.

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

    The sign makes the mean over the border lower than that over the inside.
    """
    coordinates = (maps - maps.mean((0, 1, 2))) @ principal_axes(maps)[:, 0]
    scale = float(coordinates.abs().max())
    if scale < 1e-6:  # all tokens are alike: nothing is told from the border
        return torch.full_like(coordinates, -1.0)
    if coordinates[:, at_border(maps)].mean() > coordinates[:, ~at_border(maps)].mean():
        coordinates = -coordinates
    levels = ((coordinates / scale + 1) * 127.5).round().numpy().astype(np.uint8)
    threshold, _ = cv2.threshold(levels.reshape(-1, 1), 0, 1, cv2.THRESH_OTSU)
    return coordinates - ((threshold + 0.5) / 127.5 - 1) * scale


def cluster_foreground(maps: Float[Tensor, "T h w D"], num_clusters: int = 4, seed: int = 0) -> Float[Tensor, "T h w"]:
    """1 where a token is foreground and -1 where it is ground, by k-means.

    A cluster is ground if it covers more of the border than of the inside.
    """
    tokens = maps.flatten(0, 2)
    some = tokens[:: -(-len(tokens) // TOKENS_TO_CLUSTER)]
    cv2.setRNGSeed(seed + 1)  # 0 means another one each time
    criteria = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 1e-3)
    options = (criteria, 3, cv2.KMEANS_PP_CENTERS)
    centres = cv2.kmeans(some.numpy(), num_clusters, None, *options)[2]  # type: ignore[call-overload]
    clusters = torch.cdist(tokens, torch.from_numpy(centres)).argmin(dim=1).view(maps.shape[:3])
    foreground = torch.full(clusters.shape, -1.0)
    for number in range(num_clusters):
        members = (clusters == number).float()
        if members[:, at_border(maps)].mean() < members[:, ~at_border(maps)].mean():
            foreground[clusters == number] = 1.0
    return foreground


def at_border(maps: Float[Tensor, "T h w D"]) -> Bool[Tensor, "h w"]:
    """The outermost tokens of a frame."""
    border = torch.ones(maps.shape[1:3], dtype=torch.bool)
    border[1:-1, 1:-1] = False
    return border
