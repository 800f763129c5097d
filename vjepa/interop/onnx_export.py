"""Networks as ONNX graphs, for runtimes without Python: pixels in, tokens or latents out."""

import os
import tempfile
from pathlib import Path

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.optional import optional
from vjepa.interop.networks import build
from vjepa.interop.portable import PortableModel
from vjepa.models import VideoEncoder


class EncoderGraph(nn.Module):
    """Clips to tokens, the normalisation included, as `LoadedEncoder` does it."""

    def __init__(self, encoder: VideoEncoder):
        super().__init__()
        self.encoder = encoder

    def forward(self, clips: UInt8[Tensor, "B 3 T H W"]) -> Float[Tensor, "B N D"]:
        return self.encoder(normalize_clips(clips))


def write_encoder_graph(model: PortableModel, file: Path) -> None:
    """Write the encoder of a model: input `clips`, uint8, output `tokens`. Raises ValueError where it has none."""
    if model.encoder is None:
        raise ValueError("this model holds probes without an encoder; there is nothing to write as ONNX")
    encoder = build(VideoEncoder, model.encoder, "the model")
    clips = torch.zeros(2, 3, model.preprocessing.num_frames, *model.preprocessing.crop_size, dtype=torch.uint8)
    write_graph(EncoderGraph(encoder), {"clips": clips}, "tokens", file)


def write_graph(module: nn.Module, inputs: dict[str, Tensor], output: str, file: Path) -> None:
    """Trace a module and write it, above 1.5 GB with the weights in a file beside it. Any number of inputs at once.

    Raises ValueError where the package onnx is missing.
    """
    for package in ("onnx", "onnxscript"):
        optional(package, "--to onnx", "onnx")
    with torch.no_grad():
        module.eval()(*inputs.values())  # tables that are computed at the first call must not be computed while tracing
    batch = torch.export.Dim("batch")
    axes = {name: {0: batch} for name in inputs}
    program = torch.onnx.export(
        module,
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=[output],
        dynamic_shapes=tuple(axes.values()),
        dynamo=True,
        verbose=False,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    assert program is not None
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        program.save(str(Path(folder, file.name)))  # which names the file of the weights after the graph's
        for written in sorted(Path(folder).iterdir(), key=lambda path: path.name == file.name):  # the graph last
            os.replace(written, file.parent / written.name)
