"""Low-rank adapters of an encoder (LoRA, arXiv 2106.09685), by the library peft."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from vjepa.data.optional import optional
from vjepa.models import VideoEncoder

ATTENTION = ("attn.qkv", "attn.proj")
MLP = ("mlp.fc1", "mlp.fc2", "mlp.fc3")


@dataclass(frozen=True)
class LowRank:
    """Adapters: to each adapted matrix alpha / rank * B A is added, of which only B and A are trained.

    Args:
        rank: of B A. Rank 4 trains 1.9 % of the weights of an encoder of width 96 and depth 3, and 0.3 % of ViT-S.
        alpha: scale of what is added.
        dropout: of the adapters' input.
        mlp: adapt the MLPs too, not only attention; about twice as many weights.
    """

    rank: int = 4
    alpha: float = 8.0
    dropout: float = 0.0
    mlp: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise ValueError(f"rank ({self.rank}) of low-rank adapters must be at least 1; try 4")


class Adapters:
    """Adapts an encoder in place: its own weights are frozen, and the adapters' are new; at first they add nothing."""

    def __init__(self, encoder: VideoEncoder, settings: LowRank):
        peft = require_peft()
        # No expression and no bare "proj": the patch embedding has one, too.
        targets = [name for name in (*ATTENTION, *(MLP if settings.mlp else ())) if _has(encoder, name)]
        config = peft.LoraConfig(
            r=settings.rank, lora_alpha=settings.alpha, lora_dropout=settings.dropout, target_modules=targets
        )
        self.model: Any = peft.get_peft_model(encoder, config)

    def save(self, folder: Path) -> None:
        """In peft's own format: `PeftModel.from_pretrained(encoder, folder)` reads it."""
        self.model.save_pretrained(folder)

    def merge(self) -> None:
        """Add the adapters to the encoder's own matrices, so that it has the names and shapes of before."""
        self.model.merge_and_unload()


def require_peft() -> Any:
    """The library, imported where adapters are asked for: it brings transformers. Raises ValueError without it."""
    return optional("peft", "low-rank adaptation", "finetune")


def _has(encoder: nn.Module, name: str) -> bool:
    return any(each.endswith(f".{name}") for each, _ in encoder.named_modules())
