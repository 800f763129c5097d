"""The closing summary names a command that fits what the run was trained on."""

from pathlib import Path

from vjepa.monitoring.closing_summary import evaluation_of


def test_an_encoder_of_own_videos_is_not_probed_on_the_embedded_ones(tiny_world, tmp_path):
    own, last = str(tmp_path / "my videos"), Path("last.ckpt")
    assert evaluation_of([str(tiny_world / "train.csv")], last) == "make probe CHECKPOINT=last.ckpt"
    features = f"vjepa embed '{own}' -o features --checkpoint last.ckpt"
    assert evaluation_of([own], last) == evaluation_of([str(tiny_world / "train.csv"), own], last) == features
