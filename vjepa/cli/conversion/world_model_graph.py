"""A world model as two ONNX graphs: `encoder.onnx`, frames to latents, and `dynamics.onnx`, one step of imagination."""

from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vjepa.data.atomic_file import write_text
from vjepa.data.clips.batch import normalize_frames
from vjepa.interop.onnx_export import write_graph
from vjepa.training.world_model import WorldModel
from vjepa.training.world_model_run import WorldModelRun


class FrameGraph(nn.Module):
    """Frames to latents, the normalisation included."""

    def __init__(self, model: WorldModel):
        super().__init__()
        self.encoder = model.encoder

    def forward(self, frames: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B N D"]:
        return self.encoder(normalize_frames(frames))


class StepGraph(nn.Module):
    """The last latents and the raw action chunks after them, to the latent that follows."""

    def __init__(self, model: WorldModel):
        super().__init__()
        self.dynamics, self.actions = model.dynamics, model.actions

    def forward(
        self, latents: Float[Tensor, "B C N D"], actions: Float[Tensor, "B C chunk_dim"]
    ) -> Float[Tensor, "B N D"]:
        return self.dynamics(latents, self.actions.normalized(actions), None, None)[:, -1]


def write_world_model_graphs(run: WorldModelRun, folder: Path) -> None:
    """Write both graphs and a card. Raises ValueError where the dynamics need states beside actions."""
    model = run.model
    if model.dynamics.needs_states:
        raise ValueError(f"the dynamics of {run.name} need states beside actions; such models are not written as ONNX")
    frames = torch.zeros(2, 3, *model.frame_size, dtype=torch.uint8)
    with torch.no_grad():
        latents = FrameGraph(model)(frames).unsqueeze(1).repeat(1, model.dynamics.context, 1, 1)
    actions = torch.zeros(2, model.dynamics.context, model.actions.chunk_dim)
    write_graph(FrameGraph(model), {"frames": frames}, "latents", folder / "encoder.onnx")
    write_graph(StepGraph(model), {"latents": latents, "actions": actions}, "next_latents", folder / "dynamics.onnx")
    write_text(
        folder / "README.md",
        f"""# {folder.name}

The world model {run.title}, written by `vjepa convert` (ONNX). The first axis of each input is free.

| graph | inputs | output |
|---|---|---|
| `encoder.onnx` | frames {list(frames.shape[1:])}, uint8, RGB | latents {list(latents.shape[2:])} |
| `dynamics.onnx` | latents {list(latents.shape[1:])}, actions {list(actions.shape[1:])}, raw | next_latents |

An action chunk is {model.frame_step} raw actions of {model.action_dim} numbers, one after the other.
""",
    )
