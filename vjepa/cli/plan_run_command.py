"""`vjepa plan-run`: what a recipe will take, before it is launched."""

import torch
from jsonargparse import Namespace
from lightning.pytorch.cli import LightningArgumentParser

from vjepa.cli.training import TrainingCLI
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.models.layers import Checkpointing
from vjepa.training import JEPA
from vjepa.training.cost.gpus import GPUS
from vjepa.training.cost.run_plan import Plan, plan_of, report_of

# From what costs no time to what costs most.
CHECKPOINTING: tuple[Checkpointing, ...] = (False, "selective", True)


def run_plan_run_command(arguments: list[str]) -> None:
    """Parse and run `vjepa plan-run`: the recipes and flags of `vjepa fit`; the first word may be the recipe."""
    named = bool(arguments) and not arguments[0].startswith("-")
    PlanRunCLI(["fit", *(["-c"] if named else []), *arguments])


class PlanRunCLI(TrainingCLI):
    """Reads a recipe as `fit` does, and makes its model without memory and its data module without data: no run."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        super().add_arguments_to_parser(parser)
        parser.add_argument("--gpu", type=str, default="h200", help=f"one of {', '.join(GPUS)}")
        parser.add_argument("--devices", type=int, default=1, help="GPUs of all nodes together")
        parser.add_argument("--mfu", type=float, default=0.4, help="fraction of the GPU's peak that is reached")

    def instantiate_classes(self) -> None:
        given = self.config[self.subcommand]
        if given.gpu not in GPUS:
            raise ValueError(f"gpu ({given.gpu}) must be one of {', '.join(GPUS)}")
        if given.devices < 1:
            raise ValueError(f"devices ({given.devices}) must be at least 1")
        if not 0 < given.mfu <= 1:
            raise ValueError(f"mfu ({given.mfu}) must be more than 0 and at most 1; runs here reached 0.2 to 0.5")
        wanted = Namespace({self.subcommand: Namespace(model=given.model, data=given.data)})
        with torch.device("meta"):
            parts = self.parser.instantiate(wanted)[self.subcommand]
        model, data = parts.model, parts.data
        if not isinstance(model, JEPA) or not isinstance(data, ClipDataModule):
            raise ValueError(f"a run of {type(model).__name__} can't be planned; give a recipe of vjepa.training.JEPA")

        trainer, most = given.trainer.as_dict(), given.efficiency.max_micro_batch

        def planned(checkpointing: Checkpointing | None) -> Plan:
            return plan_of(model, data, trainer, GPUS[given.gpu], given.devices, given.mfu, checkpointing, most)

        plan = planned(given.efficiency.activation_checkpointing)
        print(report_of(plan, given.mfu))
        if not plan.fits:
            fitting = next((each for each in CHECKPOINTING if planned(each).fits), None)
            in_parts = all(term.averages_clips for term in model.objective.terms) and model.predicted_fraction == 1
            raise ValueError(_does_not_fit(plan, given, fitting, planned(True), in_parts))

    def _run_subcommand(self, subcommand: str) -> None:
        """All is done."""


def _does_not_fit(plan: Plan, given: Namespace, fitting: Checkpointing | None, smallest: Plan, in_parts: bool) -> str:
    """The sentence that names the setting that would fit."""
    start = f"{plan.total / 1e9:.0f} GB a GPU don't fit into the {plan.gpu.memory_gb} GB of {given.gpu}"
    if fitting is not None:
        return f"{start}; give --efficiency.activation_checkpointing={str(fitting).lower()}"
    states = sum(size for name, size in smallest.memory.items() if name not in ("activations", "work"))
    by_clip = (smallest.total - states) / smallest.clips_at_once
    clips = int((0.92 * plan.gpu.memory_gb * 1e9 - states) / by_clip)
    if clips < 1:
        return (
            f"{start}; weights, gradients, moments and target alone take {states / 1e9:.0f} GB: give GPUs of more "
            f"memory, or shard them (--trainer.strategy=fsdp2)"
        )
    times = -(-plan.clips_per_device // clips)
    while plan.clips_per_device % times:
        times += 1
    if in_parts:
        return (
            f"{start}; give --efficiency.activation_checkpointing=true and "
            f"--efficiency.max_micro_batch={plan.clips_per_device // times}"
        )
    batch = plan.clips_per_device // times * plan.devices
    return (
        f"{start}; give --efficiency.activation_checkpointing=true, --data.global_batch_size={batch} and "
        f"--trainer.accumulate_grad_batches={times * (given.trainer.accumulate_grad_batches or 1)}"
    )
