"""Released files are asked as they were trained: the online encoder sees the past, the average gives targets."""

from pathlib import Path

import pytest
import torch

from tests.interop.tiny_models import tiny_model
from tests.tiny_pairs import tiny_pairs, write_pairs
from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.cli.evaluation.surprise_command import _masked_rows, _opened
from vjepa.evaluation.surprise.windows import PastWindows
from vjepa.interop.portable import Family
from vjepa.interop.released import to_released

WINDOWS = PastWindows(4, (2,))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs"), pairs=1, num_frames=4)


@pytest.mark.parametrize("family", ["V-JEPA 1", "V-JEPA 2", "V-JEPA 2.1"])
def test_a_released_file_scores_pairs(family: Family, pairs, tmp_path):
    model = tiny_model(family)
    content = to_released(model)
    average = next(key for key in ("ema_encoder", "target_encoder") if key in content)
    assert average in content
    content["encoder"] = {  # another than the average, but for V-JEPA 1's table of positions
        name: value + (0 if "pos_embed" in name else 1) for name, value in content[average].items()
    }
    torch.save(content, tmp_path / "released.pt")
    data = tiny_pairs(pairs, crop_size=(64, 64))
    source = CheckpointArguments(checkpoint=tmp_path / "released.pt")
    [scorer] = _masked_rows(_opened(source, data), source, data, WINDOWS, ["copy"], torch.device("cpu"), "32-true")
    targets, contexts = scorer.target_encoder.state_dict(), scorer.encoder.state_dict()
    assert all(torch.equal(value, targets[name]) for name, value in model.encoder.weights.items())
    assert not torch.equal(contexts["patch_embed.proj.weight"], targets["patch_embed.proj.weight"])
    decoded = next(iter(data.decoded_pairs("test")))
    found = scorer(decoded.plain)
    assert [*found] == ["pretrained", "copy of latents"] and found["pretrained"].windows.isfinite().all()


def test_a_predictor_of_a_teacher_s_tokens_is_refused(pairs, tmp_path):
    torch.save(to_released(tiny_model("V-JEPA 2.1", distilled=True)), tmp_path / "distilled.pt")
    with pytest.raises(ValueError, match="predicts pixels or a teacher's tokens"):
        _opened(CheckpointArguments(checkpoint=tmp_path / "distilled.pt"), tiny_pairs(pairs))
