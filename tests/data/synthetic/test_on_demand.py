"""What a recipe names of the embedded datasets is rendered where it is missing, and nothing else."""

from pathlib import Path

import pytest

from vjepa.data.synthetic import on_demand
from vjepa.data.synthetic.on_demand import render_embedded_data

NESTED = {"data": {"init_args": {"train_manifest": "data/synthetic/train.csv", "mixture": [{"manifest": "a.csv"}]}}}
PHYSICS = {"data": {"val_manifest": Path("data/physics/val.csv")}}


@pytest.fixture
def rendered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple]:
    calls: list[tuple] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        on_demand, "write_dataset", lambda folder, difficulty, world: calls.append((folder, difficulty, world))
    )
    return calls


def test_only_what_is_named_and_missing_is_rendered(rendered: list[tuple], tmp_path: Path):
    render_embedded_data({"data": {"train_manifest": "my/data/synthetic/train.csv", "root": "data/two_rooms"}})
    assert rendered == []
    render_embedded_data(NESTED)
    render_embedded_data(PHYSICS)
    render_embedded_data({"data": {"mixture": [{"manifest": "data/synthetic_hard/train.csv"}]}})
    assert rendered == [
        ("data/synthetic", "normal", "motions"),
        ("data/physics", "normal", "physics"),
        ("data/synthetic_hard", "hard", "motions"),
    ]
    (tmp_path / "data" / "synthetic").mkdir(parents=True)
    (tmp_path / "data" / "synthetic" / "dataset.json").write_text("{}")
    render_embedded_data(NESTED)
    assert len(rendered) == 3


def test_several_processes_are_told_to_render_first(rendered: list[tuple], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match=r"there is no data/physics, and several .*; run `vjepa make-data --world=phy"):
        render_embedded_data(PHYSICS)
    assert rendered == []
