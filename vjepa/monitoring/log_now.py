"""Log values at the step they belong to: Lightning writes only those of every n-th step."""

from lightning.pytorch import LightningModule, Trainer


def log_now(trainer: Trainer, module: LightningModule, values: dict[str, float]) -> None:
    """Write rank 0's values to all loggers, and to the progress line."""
    module.log_dict(values, logger=False, rank_zero_only=True)
    log_at_end(trainer, values)


def log_at_end(trainer: Trainer, values: dict[str, float]) -> None:
    """Write values to all loggers when training has ended and the module may no longer log."""
    for logger in trainer.loggers:
        logger.log_metrics(values, step=trainer.global_step)
