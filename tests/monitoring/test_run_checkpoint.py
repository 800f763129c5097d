from types import SimpleNamespace

import pytest
import torch

from vjepa.monitoring import RunCheckpoint


class _Trainer:
    """Counts what it is asked to save."""

    log_dir, default_root_dir, is_global_zero = None, ".", True
    _accelerator_connector = SimpleNamespace(cluster_environment=None)

    def __init__(self, folder):
        self.log_dir, self.global_step, self.callback_metrics, self.saved = folder, 0, {}, []

    def save_checkpoint(self, path, weights_only):
        self.saved.append((path.name, self.global_step))
        path.parent.mkdir(exist_ok=True)
        path.with_name("new").write_text(str(self.global_step))
        path.with_name("new").replace(path)


def run(trainer, callback, micro_batches_per_step, steps):
    callback.setup(trainer, None, "fit")
    callback.on_train_start(trainer, None)
    for micro_batch in range(1, micro_batches_per_step * steps + 1):
        trainer.global_step = micro_batch // micro_batches_per_step
        callback.on_train_batch_end(trainer, None, None, None, micro_batch)
    callback.on_train_end(trainer, None)


def test_each_step_is_saved_once_and_the_last_always(tmp_path):
    trainer = _Trainer(tmp_path)
    run(trainer, RunCheckpoint(every_n_steps=4, keep_every_n_steps=3), micro_batches_per_step=2, steps=9)
    assert trainer.saved == [
        ("step_3.ckpt", 3),
        ("last.ckpt", 4),
        ("step_6.ckpt", 6),
        ("last.ckpt", 8),
        ("step_9.ckpt", 9),
        ("last.ckpt", 9),
    ]


def test_a_loss_that_is_not_finite_spoils_no_checkpoint(tmp_path):
    trainer = _Trainer(tmp_path)
    trainer.callback_metrics["train/loss"] = torch.tensor(float("nan"))
    with pytest.raises(ValueError, match=r"the loss is nan at step 4, so nothing was saved over .*last.ckpt"):
        run(trainer, RunCheckpoint(every_n_steps=4), 1, 9)
    assert trainer.saved == []


@pytest.mark.parametrize("linked", [True, False])
def test_those_before_the_last_are_kept(tmp_path, monkeypatch, linked):
    if not linked:
        monkeypatch.setattr("os.link", lambda *names: (_ for _ in ()).throw(OSError("no links here")))
    trainer = _Trainer(tmp_path)
    run(trainer, RunCheckpoint(every_n_steps=2, keep_previous=2), 1, 8)
    found = {file.name: file.read_text() for file in (tmp_path / "checkpoints").iterdir()}
    assert found == {"last.ckpt": "8", "previous_1.ckpt": "6", "previous_2.ckpt": "4"}


def test_a_save_that_fails_leaves_all_as_it_was(tmp_path, monkeypatch):
    trainer, callback = _Trainer(tmp_path), RunCheckpoint(every_n_steps=2)
    run(trainer, callback, 1, 4)

    def full(path, weights_only):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(trainer, "save_checkpoint", full)
    with pytest.raises(OSError, match="No space left"):
        run(trainer, callback, 1, 6)
    assert (tmp_path / "checkpoints" / "last.ckpt").read_text() == "4"
    assert (tmp_path / "checkpoints" / "previous_1.ckpt").read_text() == "2"
    assert {file.name for file in (tmp_path / "checkpoints").iterdir()} == {"last.ckpt", "previous_1.ckpt"}


def test_minutes_count_too(tmp_path, monkeypatch):
    trainer, clock = _Trainer(tmp_path), [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock.__setitem__(0, clock[0] + 20) or clock[0])
    run(trainer, RunCheckpoint(every_n_steps=100, every_n_minutes=1, keep_previous=0), 1, 9)
    assert 2 <= len(trainer.saved) <= 5 and trainer.saved[-1] == ("last.ckpt", 9)


@pytest.mark.parametrize("settings", [{"keep_previous": -1}, {"every_n_minutes": 0.0}])
def test_numbers_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=r"keep_previous .* must be at least 0, and every_n_minutes .* more than 0"):
        RunCheckpoint(**settings)
