"""Surprise of an action-conditioned world model: the error of predicting each frame's latent from the frames before."""

import torch
from jaxtyping import Float
from torch import Tensor

from vjepa.data.clips.batch import normalize_frames
from vjepa.data.clips.matched_pairs import WholeClip
from vjepa.evaluation.surprise.windows import Surprise, assembled, pooled, setting_names
from vjepa.objectives.latent_prediction import token_distances
from vjepa.training.world_model import WorldModel

FRAMES_AT_ONCE = 64


class WorldModelSurprise:
    """One-step squared error of latents (LeWorldModel, arXiv 2603.19312), by the clip's actions, or zeros without.

    Args:
        name: row of the table.
        model: frozen. A frame is encoded alone, so that neither its target nor its context sees a later one.
        frame_step: of the clips, where they have one: actions are then those between two clip frames.
    """

    def __init__(self, name: str, model: WorldModel, frame_step: float | None, device: torch.device):
        if model.dynamics.needs_states:
            raise ValueError(
                "the dynamics of this world model need a state for each frame (state_dim), which videos don't have; "
                "give a world model of frames and actions alone"
            )
        self.rows = [name]
        self.model = model.to(device).eval()
        self.frame_step = frame_step
        self.context = model.dynamics.context
        self.settings = setting_names([f"context {self.context}"])

    @torch.inference_mode()
    def __call__(self, clip: WholeClip) -> dict[str, Surprise]:
        frames, context = clip.frames.transpose(0, 1), self.context
        if len(frames) <= context:
            raise ValueError(f"it has {len(frames)} frames, too few for a model that looks back at {context}")
        parts = frames.to(self.model.device).split(FRAMES_AT_ONCE)
        latents = torch.cat([self.model.encoder(normalize_frames(part)) for part in parts])  # (F, N, D)
        chunks = self._chunks(clip)
        # All stretches of `context` frames, each with the frame that follows it.
        ends = range(context, len(frames))
        past, acted = (torch.stack([each[end - context : end] for end in ends]) for each in (latents, chunks))
        predicted = torch.cat(
            [
                self.model.dynamics(*batch)[:, -1]
                for batch in zip(past.split(FRAMES_AT_ONCE), acted.split(FRAMES_AT_ONCE), strict=True)
            ]
        )
        errors = token_distances(predicted, latents[context:], exponent=2.0).mean(-1)  # (F - context, N)
        starts = torch.arange(len(errors))
        return {self.rows[0]: assembled([pooled(errors.unsqueeze(1))], starts, [context], 1, len(frames))}

    def _chunks(self, clip: WholeClip) -> Float[Tensor, "F chunk_dim"]:
        """Normalised action chunks after each frame; the last one is not used."""
        actions, size = self.model.actions, (clip.frames.shape[1], self.model.frame_step, self.model.action_dim)
        chunks = torch.zeros(size)
        if clip.actions is not None:
            if self.frame_step != self.model.frame_step:
                raise ValueError(
                    f"its actions lie {self.frame_step} frames apart (--data.frame_step), and the world model acts "
                    f"{self.model.frame_step} times from frame to frame; make them equal"
                )
            if clip.actions.ndim != 2 or clip.actions.shape[1] != self.model.action_dim:
                raise ValueError(
                    f"its actions are {clip.actions.shape} numbers, and the world model takes (frames, "
                    f"{self.model.action_dim})"
                )
            given = torch.from_numpy(clip.actions)
            for row, first in enumerate(clip.frame_ids[:-1].tolist()):
                chunks[row] = given[first : first + self.model.frame_step]
        return actions.normalized(chunks.flatten(1).to(self.model.device))
