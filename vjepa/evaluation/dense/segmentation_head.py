"""Heads that label every token of a frame from frozen features, and their training.

Linear: features that are standardised over the training tokens, as a batch norm would, then one linear map (the
protocol of DINOv2 and V-JEPA 2.1). Attentive: the same behind one transformer block over the tokens of the frame, of
one width for all features. A token learns the fraction of its area that each class covers, which is the cross-entropy
of all its pixels; in use its scores are upsampled to pixels.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from vjepa.interop.networks import seeded
from vjepa.models.layers import Block, initialize_transformer

HeadKind = Literal["linear", "attentive"]
WIDTH, NUM_HEADS = 96, 4  # of the attentive head's block


@dataclass(frozen=True)
class HeadTraining:
    """How heads are trained: AdamW, with a learning rate that falls to zero by a cosine.

    Args:
        kinds: "linear", "attentive".
        learning_rate: at the start.
        weight_decay: of the linear maps.
        num_steps: of training.
        batch_size: frames of one step.
    """

    kinds: tuple[HeadKind, ...] = ("linear", "attentive")
    learning_rate: float = 2e-3
    weight_decay: float = 0.01
    num_steps: int = 300
    batch_size: int = 32

    def __post_init__(self) -> None:
        if not self.kinds or not set(self.kinds) <= set(get_args(HeadKind)):
            raise ValueError(f"kinds ({', '.join(self.kinds) or 'none'}) of heads must be some of linear, attentive")
        if min(self.num_steps, self.batch_size) < 1 or not self.learning_rate > 0:
            raise ValueError(
                f"num_steps ({self.num_steps}) and batch_size ({self.batch_size}) must be at least 1, and "
                f"learning_rate ({self.learning_rate}) more than 0"
            )


class SegmentationHead(nn.Module):
    """Class scores of each token of a frame; `mean` and `std` are those of the training tokens."""

    def __init__(self, kind: HeadKind, mean: Float[Tensor, " D"], std: Float[Tensor, " D"], num_classes: int):
        super().__init__()
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", mean)
        self.register_buffer("std", std.clamp_min(1e-6))
        self.layers: nn.Module = nn.Linear(len(mean), num_classes)
        blocks = []
        if kind == "attentive":
            blocks = [Block(WIDTH, NUM_HEADS)]
            self.layers = nn.Sequential(
                nn.Linear(len(mean), WIDTH), *blocks, nn.LayerNorm(WIDTH), nn.Linear(WIDTH, num_classes)
            )
        initialize_transformer(self, blocks)

    def forward(self, maps: Float[Tensor, "B h w D"]) -> Float[Tensor, "B h w K"]:
        tokens = (maps - self.mean) / self.std
        return self.layers(tokens.flatten(1, 2)).unflatten(1, maps.shape[1:3])


def class_fractions(
    classes: Int64[Tensor, "B H W"],  # negative where there is no label
    grid: tuple[int, int],
    num_classes: int,
) -> Float[Tensor, "B h w K"]:
    """The fraction of each token's area that each class covers; void pixels count for none."""
    planes = [F.adaptive_avg_pool2d((classes == number).float(), grid) for number in range(num_classes)]
    return torch.stack(planes, dim=-1)


def train_head(
    kind: HeadKind,
    maps: Float[Tensor, "n h w D"],
    fractions: Float[Tensor, "n h w K"],
    training: HeadTraining,
    seed: int,
    device: torch.device,
) -> SegmentationHead:
    """Train a head on labelled frames; weights and order are by the seed."""
    with seeded(seed):
        std, mean = torch.std_mean(maps.float(), dim=(0, 1, 2))
        head = SegmentationHead(kind, mean, std, fractions.shape[-1]).to(device)
        optimizer = torch.optim.AdamW(head.parameters(), training.learning_rate, weight_decay=training.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, training.num_steps)
        size = min(training.batch_size, len(maps))
        order = torch.cat([torch.randperm(len(maps)) for _ in range(-(-training.num_steps * size // len(maps)))])
        for rows in order[: training.num_steps * size].view(training.num_steps, size):
            wanted = fractions[rows].to(device)
            likelihoods = head(maps[rows].float().to(device)).log_softmax(dim=-1)
            loss = -(wanted * likelihoods).sum() / wanted.sum().clamp_min(1e-6)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head.eval().requires_grad_(False)
