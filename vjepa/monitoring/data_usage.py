"""Clips of each source that a run has used, and unreadable files, as `data/...`."""

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from vjepa.data.clips.data_module import ClipDataModule
from vjepa.monitoring.log_now import log_now
from vjepa.training.scheduled_module import mean_over_ranks


class DataUsage(Callback):
    """Clips and hours of video per source, replaced clips and files in quarantine, over all ranks.

    Logged every `log_every_n_steps`.
    """

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: object, batch: object, batch_idx: int
    ) -> None:
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, ClipDataModule) or trainer.global_step % trainer.log_every_n_steps:  # type: ignore[attr-defined]
            return
        replaced = torch.tensor([data.quarantine.replaced_clips], dtype=torch.float32, device=module.device)
        values = {
            "data/replaced_clips": float(mean_over_ranks(replaced)) * trainer.world_size,
            "data/quarantined_files": float(len(data.quarantine)),
        }
        for name, usage in data.usage().items():
            values |= {f"data/clips_{name}": float(usage.clips), f"data/hours_{name}": usage.seconds / 3600}
        log_now(trainer, module, values)
