import pytest
import torch

from vjepa.monitoring import RunCheckpoint


class _Trainer:
    """Counts what it is asked to save."""

    log_dir, default_root_dir = None, "."

    def __init__(self, folder):
        self.log_dir, self.global_step, self.callback_metrics, self.saved = folder, 0, {}, []

    def save_checkpoint(self, path, weights_only):
        self.saved.append((path.name, self.global_step))


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
