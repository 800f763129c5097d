"""The heartbeat of a run."""

import json
from types import SimpleNamespace

import pytest

from vjepa.monitoring import Heartbeat


def trainer(folder, **settings):
    state = SimpleNamespace(fn="fit")
    return SimpleNamespace(is_global_zero=True, state=state, global_step=3, default_root_dir=str(folder), **settings)


def test_it_beats_at_most_so_often_and_at_the_end(tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    heart, run = Heartbeat(every_n_seconds=10), trainer(tmp_path)
    heart.on_train_batch_end(run, None)
    assert json.loads((tmp_path / "heartbeat.json").read_text())["step"] == 3
    for seconds, step in ((5, 3), (12, 7)):  # too early, and then
        clock[0], run.global_step = 100.0 + seconds, 7
        heart.on_train_batch_end(run, None)
        assert json.loads((tmp_path / "heartbeat.json").read_text())["step"] == step
    heart.on_train_end(run, None)
    assert json.loads((tmp_path / "heartbeat.json").read_text())["state"] == "finished"


def test_a_beat_that_fails_ends_no_run(tmp_path, capsys):
    Heartbeat(every_n_seconds=0).on_train_batch_end(trainer(tmp_path / "missing"), None)
    assert "no heartbeat" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"every_n_seconds \(-1\) must be at least 0"):
        Heartbeat(-1)
