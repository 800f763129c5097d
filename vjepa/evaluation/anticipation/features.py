"""Tokens of a clip and of its predicted future, frozen."""

import torch
from jaxtyping import Float, Float32, UInt8
from torch import Tensor

from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.probes.frozen_features import FrozenFeatures
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder


def future_mask(
    grid: TokenGrid,  # of the clips
    seconds: Float[Tensor, " B"],  # from each clip's end to the predicted time
    fps: float,  # of the clips
    tubelet_length: int,  # frames
    num_predicted: int = 1,  # tubelets over time
) -> tuple[TubeMask, TokenGrid]:
    """The clips' tokens as context, those of `num_predicted` tubelets `seconds` later as targets; the grid of both."""
    skipped = (seconds * fps / tubelet_length).long()
    plane = grid.height * grid.width
    context_ids = torch.arange(grid.num_tokens, device=seconds.device).expand(len(seconds), -1)
    first = grid.num_tokens + plane * skipped
    target_ids = first.unsqueeze(1) + torch.arange(num_predicted * plane, device=seconds.device)
    longer = grid._replace(frames=grid.frames + int(skipped.max()) + num_predicted)
    return TubeMask(context_ids, target_ids), longer


class AnticipationFeatures(FrozenFeatures):
    """The encoder's tokens of a clip, followed by the predictor's tokens of a later time.

    Args:
        name: row of the table.
        encoder: of the clip.
        predictor: predicts the encoder's later tokens; only the clip's own tokens if None.
        fps: of the clips.
        num_predicted: number of predicted tubelets over time.
    """

    def __init__(
        self, name: str, encoder: VideoEncoder, predictor: Predictor | None, fps: float, num_predicted: int = 1
    ):
        super().__init__(name)
        if predictor is not None and not predictor.position.is_rotary and predictor.position.position_grid is not None:
            raise ValueError(
                "a predictor with sine-cosine positions on a position_grid can't look beyond it: they would be "
                "stretched; anticipate with rotary positions, or from the encoder alone"
            )
        if predictor is not None and predictor.target_dim != predictor.num_levels * encoder.embed_dim:
            raise ValueError(
                f"this predictor predicts a teacher's tokens ({predictor.target_dim} wide), not its own encoder's "
                f"({encoder.embed_dim}); anticipate from the encoder alone"
            )
        self.encoder = encoder
        self.predictor = predictor
        self.fps = fps
        self.num_predicted = num_predicted
        self.freeze()

    @torch.no_grad()
    def forward(  # type: ignore[override]
        self, clips: UInt8[Tensor, "B 3 T H W"], seconds: Float32[Tensor, " B"]
    ) -> Float[Tensor, "B N D"]:
        clips = normalize_clips(clips)
        tokens = self.encoder(clips)
        if self.predictor is None:
            return tokens
        grid = self.encoder.grid_of(clips)
        mask, longer = future_mask(grid, seconds, self.fps, self.encoder.tubelet[0], self.num_predicted)
        context = tokens if self.predictor.num_levels == 1 else self.encoder.forward_outputs(clips)
        predicted = self.predictor(context, mask, longer)[..., -self.encoder.embed_dim :]  # the last level's
        return torch.cat((tokens, predicted), dim=1)
