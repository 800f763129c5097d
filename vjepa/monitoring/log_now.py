"""Log values at the very step they belong to: Lightning keeps only those of every n-th step for the logger."""

from lightning.pytorch import LightningModule, Trainer


def log_now(trainer: Trainer, module: LightningModule, values: dict[str, float]) -> None:
    """Write rank 0's values to all loggers, and keep them for the progress line."""
    module.log_dict(values, logger=False, rank_zero_only=True)
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
