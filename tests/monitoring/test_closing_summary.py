"""The closing summary names a command that fits what the run was trained on."""

from pathlib import Path

from vjepa.monitoring.closing_summary import evaluation_of, planning_of


def test_an_encoder_of_own_videos_is_not_probed_on_the_embedded_ones(tiny_world, tmp_path):
    own, last = str(tmp_path / "my videos"), Path("last.ckpt")
    assert evaluation_of([str(tiny_world / "train.csv")], last) == "vjepa probe -c synthetic --checkpoint last.ckpt"
    features = f"vjepa embed '{own}' -o features --checkpoint last.ckpt"
    assert evaluation_of([own], last) == evaluation_of([str(tiny_world / "train.csv"), own], last) == features


def test_a_model_of_the_physics_world_is_surprised(tmp_path):
    (tmp_path / "physics").mkdir()
    (tmp_path / "physics" / "dataset.json").write_text("{}")
    found = evaluation_of([str(tmp_path / "physics" / "train.csv")], Path("last.ckpt"))
    assert found == "vjepa surprise -c physics --checkpoint last.ckpt"


def test_next_commands_work_from_every_folder_in_the_run_s_own_world(tmp_path, monkeypatch):
    last = Path("runs/my run/last.ckpt")
    monkeypatch.chdir(tmp_path)
    assert planning_of("data/push_t", last) == "vjepa plan -c push_t --checkpoint 'runs/my run/last.ckpt'"
    assert "RECIPE_OF_THIS_WORLD" in planning_of("data/reacher", last)
    assert evaluation_of([], last) == "vjepa probe -c synthetic --checkpoint 'runs/my run/last.ckpt'"
