"""ONNX graphs compute what our networks compute; skipped where the packages of the extra `onnx` are absent."""

from pathlib import Path

import pytest
import torch

from vjepa.cli.main import main
from vjepa.interop.load_encoder import load_encoder
from vjepa.training.world_model_run import read_world_model

runtime = pytest.importorskip("onnxruntime", reason="needs the extra onnx")
pytest.importorskip("onnxscript", reason="needs the extra onnx")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


def run(file: Path, **inputs: torch.Tensor) -> torch.Tensor:
    session = runtime.InferenceSession(str(file))
    return torch.from_numpy(session.run(None, {name: each.numpy() for name, each in inputs.items()})[0])


def test_an_encoder_s_graph_gives_its_tokens_for_any_number_of_clips(tmp_path: Path, capsys: pytest.CaptureFixture):
    main(["convert", "synthetic", str(tmp_path / "out"), "--to=onnx"])
    assert "its card" in capsys.readouterr().out and "onnxruntime" in (tmp_path / "out" / "README.md").read_text()
    encoder = load_encoder("synthetic")
    for count in (1, 3):
        clips = torch.randint(0, 256, (count, 3, 16, 64, 64), dtype=torch.uint8)
        torch.testing.assert_close(
            run(tmp_path / "out" / "encoder.onnx", clips=clips), encoder(clips), atol=1e-4, rtol=0
        )


@pytest.mark.filterwarnings("ignore:.*The axis name")  # of the exporter: inputs share their batch
def test_a_world_model_s_graphs_give_its_latents_and_its_imagination(tmp_path: Path):
    main(["convert", "two_rooms", str(tmp_path / "out"), "--to=onnx"])
    model = read_world_model(Path("two_rooms")).model
    frames = torch.randint(0, 256, (3, 3, *model.frame_size), dtype=torch.uint8)
    latents = run(tmp_path / "out" / "encoder.onnx", frames=frames)
    torch.testing.assert_close(latents, model.encode_frames(frames), atol=1e-4, rtol=0)
    actions = torch.randn(3, 1, model.actions.chunk_dim)
    following = run(tmp_path / "out" / "dynamics.onnx", latents=latents.unsqueeze(1), actions=actions)
    torch.testing.assert_close(following, model.imagine(latents, actions)[:, 0], atol=1e-4, rtol=0)
