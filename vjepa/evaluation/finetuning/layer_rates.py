"""Layer-wise decay of learning rates (arXiv 1801.06146; BEiT, 2106.08254): what lies deeper in the encoder moves less.

The patch embedding is layer 0, block i layer i + 1, and norms after the last block belong to the head, the last layer.
"""

import re
from typing import Any

from torch import nn

from vjepa.models import VideoEncoder
from vjepa.training.scheduled_module import parameter_groups


def layer_of(name: str, depth: int) -> int:
    """The layer of an encoder's weight of this name."""
    if block := re.search(r"(?:^|\.)blocks\.(\d+)\.", name):
        return int(block[1]) + 1
    return depth + 1 if re.match(r"(norm|level_norms)\.", name) else 0


def layer_groups(
    encoder: VideoEncoder, head: nn.Module, learning_rate: float, layer_decay: float, weight_decay: float
) -> list[dict[str, Any]]:
    """Optimizer groups of all trained weights: rate = learning_rate * layer_decay ** (depth + 1 - layer).

    Each has the key `in_encoder`. Biases and norms have no weight decay.
    """
    depth = len(encoder.blocks)
    layers: list[dict[str, nn.Parameter]] = [{} for _ in range(depth + 2)]
    for name, parameter in encoder.named_parameters():
        layers[layer_of(name, depth)][name.replace(".", "_")] = parameter
    groups = []
    for layer, parameters in enumerate(layers):
        rate = learning_rate * layer_decay ** (depth + 1 - layer)
        for group in parameter_groups(nn.ParameterDict(parameters)):
            groups.append(group | {"lr": rate, "in_encoder": True})
    groups += [group | {"lr": learning_rate, "in_encoder": False} for group in parameter_groups(head)]
    for group in groups:
        group["weight_decay"] = weight_decay if group.pop("decays") else 0.0
    return [group for group in groups if group["params"]]
