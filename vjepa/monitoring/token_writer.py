"""Writes the tokens of `vjepa predict`, batch by batch, to the run's folder."""

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from safetensors.torch import save_file
from torch import Tensor

from vjepa.data.clips.batch import ClipBatch


class TokenWriter(BasePredictionWriter):
    """Writes `tokens/rank_R_batch_N.safetensors` with `tokens` (B, N, D) in float16 and `rows` (B,) of the manifest."""

    def __init__(self) -> None:
        super().__init__(write_interval="batch")

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        super().setup(trainer, module, stage)
        self._folder = Path(trainer.log_dir or trainer.default_root_dir) / "tokens"

    def write_on_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        prediction: Tensor,
        batch_indices: Sequence[int] | None,
        batch: ClipBatch,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        file = self._folder / f"rank_{trainer.global_rank}_batch_{batch_idx:05d}.safetensors"
        save_file({"tokens": prediction.half().cpu().contiguous(), "rows": batch.rows.cpu()}, file)

    def on_predict_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            print(f"Tokens of each batch are in {self._folder}")
