"""Image models of timm as encoders of single frames: what can be told without seeing anything move."""

import difflib
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.interop.loading import read_tensors
from vjepa.interop.networks import seeded


class ImageBackboneFeatures(FrozenFeatures):
    """Tokens of an image model, frame by frame, at every `frame_step`-th frame.

    Args:
        model: timm's name, such as "vit_small_patch14_dinov2" or "resnet18".
        weights: a safetensors file or a checkpoint of tensors; random weights if None.
        image_size: side of the square that frames are resized to; their own size if None. Image models were trained at
            224 pixels or more and see little in frames of 64. A vision transformer gets the next multiple of its
            patches.
        frame_step: frames from one input frame to the next; 2 gives one frame per tubelet of two.
    """

    def __init__(
        self,
        model: str,
        weights: Path | None,
        image_size: int | None = None,
        frame_step: int = 2,
        name: str | None = None,
    ):
        super().__init__(name or (f"{model} per frame" if weights else f"{model} per frame, random weights"))
        self.model_name = model
        self.image_size = image_size
        self.frame_step = frame_step
        with seeded(0):
            self.backbone = _new_backbone(model)
        if weights is not None:
            tensors = read_tensors(weights)
            wanted = self.backbone.state_dict()
            missing = [key for key in wanted if key not in tensors or tensors[key].shape != wanted[key].shape]
            if missing:
                raise ValueError(
                    f"{weights} does not fit {model}: it lacks {', '.join(missing[:3])} ({len(missing)} in all)"
                )
            self.backbone.load_state_dict({key: tensors[key] for key in wanted})
        self.freeze()

    @torch.no_grad()
    def forward(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        frames = clips[:, :, :: self.frame_step].transpose(1, 2)  # (B, T, 3, H, W)
        num_frames = frames.shape[1]
        tokens = self.backbone.forward_features(self._resized(frames.flatten(0, 1).float() / 255))
        if tokens.ndim == 4:
            tokens = self._places(tokens).flatten(1, 2)
        return tokens.unflatten(0, (-1, num_frames)).flatten(1, 2)

    @torch.no_grad()
    def maps(self, frames: UInt8[Tensor, "n 3 H W"]) -> Float[Tensor, "n h w D"]:
        """The tokens of patches by place, of single frames."""
        resized = self._resized(frames.float() / 255)
        tokens = self.backbone.forward_features(resized)
        if tokens.ndim == 4:
            return self._places(tokens)
        patch = self.backbone.patch_embed.patch_size
        grid = [side // step for side, step in zip(resized.shape[-2:], patch, strict=True)]
        return tokens[:, self.backbone.num_prefix_tokens :].unflatten(1, grid)

    def _places(self, tokens: Tensor) -> Float[Tensor, "n h w D"]:
        """Of a network of convolutions, (n, D, h, w), or of windows, (n, h, w, D)."""
        return tokens.movedim(1, -1) if tokens.shape[1] == self.backbone.num_features else tokens

    def _resized(self, frames: Float[Tensor, "n 3 H W"]) -> Float[Tensor, "n 3 h w"]:
        """At the model's size and by its own statistics of pixels."""
        embed = getattr(self.backbone, "patch_embed", None)
        patch = getattr(embed, "patch_size", (1, 1))
        wanted = [self.image_size or side for side in frames.shape[-2:]]
        size = [-(-side // step) * step for side, step in zip(wanted, patch, strict=True)]
        if size != list(frames.shape[-2:]):
            frames = F.interpolate(frames, size, mode="bilinear", antialias=True)
        settings = self.backbone.pretrained_cfg
        mean, std = (frames.new_tensor(settings[name]).view(3, 1, 1) for name in ("mean", "std"))
        return (frames - mean) / std

    def settings(self) -> str:
        return f"{self.model_name} {self.frame_step} {self.image_size}"


def weights_at_hand(model: str) -> Path | None:
    """A model's weights in the local cache of the Hugging Face hub; nothing is downloaded."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    known = timm.models.get_pretrained_cfg(model)
    for name in ("model.safetensors", "pytorch_model.bin"):
        found = try_to_load_from_cache(known.hf_hub_id, name) if known and known.hf_hub_id else None
        if isinstance(found, str):
            return Path(found)
    return None


def _new_backbone(model: str) -> Any:
    """Raises ValueError where timm has no such model."""
    import timm  # slow to import, and rarely needed

    if not timm.is_model(model):
        near = difflib.get_close_matches(model, timm.list_models(), n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else "; `timm.list_models()` lists all"
        raise ValueError(f"timm has no image model '{model}'{hint}")
    try:
        return timm.create_model(model, pretrained=False, num_classes=0, dynamic_img_size=True)
    except TypeError:  # no vision transformer: a network of convolutions takes any size
        return timm.create_model(model, pretrained=False, num_classes=0)
