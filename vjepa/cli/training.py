"""`vjepa fit|validate|test|predict`: Lightning's command line over our parts, one folder for each run."""

import inspect
import pydoc
import re
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.plugins.io import CheckpointIO
from lightning.pytorch.strategies import DDPStrategy
from lightning.pytorch.utilities import rank_zero_only
from torch import nn

from vjepa.cli.parser import HelpfulParser
from vjepa.data.atomic_file import writing
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.synthetic.on_demand import render_embedded_data
from vjepa.models import SIZES, Predictor
from vjepa.monitoring import (
    ClosingSummary,
    CollapseMonitor,
    DataUsage,
    GradientNorm,
    Heartbeat,
    OnlineProbe,
    Pictures,
    RunCheckpoint,
    RunProgress,
    StepGuard,
    Throughput,
    TokenWriter,
    WorldModelHealth,
)
from vjepa.monitoring.card.origin import add_origin
from vjepa.monitoring.interruption import interruptible, say
from vjepa.monitoring.run_logger import WITH_FOLDER, RunLogger, is_requeued, requeued_folder, with_run_folder
from vjepa.processors import LAUNCHERS, started_processes
from vjepa.training import ImageSelfDistillation, WorldModel
from vjepa.training.checkpoint import AsynchronousCheckpointIO, AtomicCheckpointIO, checkpoints_of, newest_whole
from vjepa.training.clip_model import ClipModel
from vjepa.training.cost.efficiency import Efficiency
from vjepa.training.devices.sharding import SHARDED, ShardedStrategy

RUN_CALLBACKS = (
    ("checkpoint", RunCheckpoint),
    ("collapse_monitor", CollapseMonitor),
    ("efficiency", Efficiency),
    ("guard", StepGuard),
    ("heartbeat", Heartbeat),
    ("online_probe", OnlineProbe),
    ("pictures", Pictures),
    ("progress", RunProgress),
    ("world_model_health", WorldModelHealth),
)

# Callbacks for one kind of model, removed where another kind is trained.
MASKED_CLIP_CALLBACKS = (CollapseMonitor, Pictures)
CLIP_CALLBACKS = (*MASKED_CLIP_CALLBACKS, OnlineProbe)
WORLD_MODEL_CALLBACKS = (WorldModelHealth,)


# Where they differ from those of Lightning's trainer.
TRAINER_DEFAULTS = {
    # Steps count the length of a run and the interval between validations.
    "max_epochs": -1,
    "check_val_every_n_epoch": None,
    "val_check_interval": 100,
    "log_every_n_steps": 10,
    "num_sanity_val_steps": 0,
    "use_distributed_sampler": False,  # our own order is already split over ranks
    "enable_model_summary": False,
}

HALF_PRECISIONS = ("bf16-true", "16-true", "transformer-engine", "transformer-engine-float16")


def run_training_command(arguments: list[str]) -> None:
    """Parse and run one of Lightning's subcommands, e.g. `["fit", "-c", "recipe.yaml"]`.

    Ctrl-C, SIGTERM and SIGUSR1 end it with exit codes 130, 143 and 138, `fit` after it has saved a checkpoint at the
    end of the step.
    """
    fits = arguments[0] == "fit"
    with interruptible("there is nothing to save" if fits else "", requeues=fits):
        TrainingCLI(arguments)


class TrainingParser(HelpfulParser, LightningArgumentParser):
    """The same over Lightning's parser, which is imported for training alone: it takes 3 s."""

    def instantiate(self, namespace: Namespace, *more: Any, **options: Any) -> Namespace:
        options["instantiators"] = [(_clips_of_probe, LabelledClips, True)]
        if _takes_weights_of_rank_0(namespace):
            options["instantiators"].append((_on_meta_device, nn.Module, True))
        parts: Namespace = super().instantiate(namespace, *more, **options)
        return parts


class TrainingCLI(LightningCLI):
    """A run's folder is `{runs}/{name}/version_{k}`: TensorBoard events, resolved config, checkpoints, quarantine.

    `--ckpt_path last` resumes in the newest such folder that holds a checkpoint. A job that SLURM requeues goes on in
    its own folder.
    """

    def __init__(self, arguments: list[str]) -> None:
        self._command = arguments[0]
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            seed_everything_default=0,
            save_config_callback=SaveSettings,
            trainer_defaults={
                **TRAINER_DEFAULTS,
                "callbacks": [GradientNorm(), Throughput(), DataUsage(), TokenWriter(), ClosingSummary()],
            },
            args=arguments,
        )

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]
        """The given command alone, since the parser of each takes a while to build."""
        return {self._command: LightningCLI.subcommands()[self._command]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        parser = TrainingParser(**kwargs)
        parser.add_recipe_argument(("pretrain", "worldmodel"))
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of all runs")
        parser.add_argument("--name", type=str | None, help="name of the run; the recipe's file name if not given")
        for key, callback in RUN_CALLBACKS:
            parser.add_lightning_class_args(callback, key)
        for key in ("tubelet", "image_tokenizer"):
            parser.link_arguments(f"model.init_args.encoder.{key}", f"data.init_args.{key}")

    def before_instantiate_classes(self) -> None:
        settings = self.config[self.subcommand]
        settings.name = settings.name or _name_of_recipe(settings)
        settings.weights_only = True
        _link_frame_step(settings)
        _link_encoder_width(settings)
        if self.subcommand == "predict":
            settings.return_predictions = False  # `TokenWriter` writes them batch by batch
        folder = settings.runs / settings.name
        if self.subcommand == "fit" and is_requeued():
            plain = yaml.safe_load(self._parser(self.subcommand).dump(settings, skip_none=False))
            _go_on_after_requeue(settings, requeued_folder(folder, plain))
        if settings.ckpt_path == "last":
            settings.ckpt_path = str(_newest_checkpoint(folder))
        elif settings.ckpt_path:
            settings.ckpt_path = str(_checkpoint_of(Path(settings.ckpt_path)))
        if self.subcommand != "fit" and not settings.ckpt_path:
            raise ValueError(
                f"`vjepa {self.subcommand}` needs trained weights, and would use random ones: give --ckpt_path=FILE, "
                f"or --ckpt_path=last for the newest run below {folder} (`vjepa embed "
                f"--checkpoint=RECIPE` writes features of a recipe's random weights)"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        settings = self.config_init[self.subcommand]
        if self.subcommand != "fit":
            self.save_config_callback = None  # the folder keeps the settings of training
        given = settings.trainer
        plugins = given.plugins if isinstance(given.plugins, list) else [given.plugins] if given.plugins else []
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            writer = AsynchronousCheckpointIO if settings.checkpoint.asynchronous else AtomicCheckpointIO
            kwargs["plugins"] = [*plugins, writer()]
        run_logger = RunLogger(settings.runs, settings.name, _version_of_checkpoint(settings))
        if given.logger in (None, True):
            kwargs["logger"] = run_logger
        elif given.logger is not False:
            kwargs["logger"] = with_run_folder(run_logger, given.logger)
        elif given.default_root_dir is None:
            kwargs["default_root_dir"] = run_logger.log_dir
        if str(given.precision) in HALF_PRECISIONS:
            raise ValueError(
                f"precision ({given.precision}) keeps weights in half precision, where the small steps of a moving "
                f"average round to nothing and its encoder would stand still; give --trainer.precision=bf16-mixed"
            )
        if given.use_distributed_sampler:
            raise ValueError(
                "use_distributed_sampler (true) would replace our order, split over ranks already; leave it out"
            )
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except TypeError as error:  # Lightning's of devices
            raise ValueError(f"trainer: {error}") from None
        except RuntimeError as error:  # Lightning's of tasks that it does not understand
            raise ValueError(
                f"{' '.join(str(error).split())} And give --trainer.devices (tasks of a node) and --trainer.num_nodes"
            ) from None
        require_all_processes(trainer.world_size)
        if isinstance(trainer.strategy, DDPStrategy):
            # Gradients lie in the buffers that are averaged: otherwise a second copy of all of them.
            trainer.strategy._ddp_kwargs.setdefault("gradient_as_bucket_view", True)
        return trainer

    def _instantiate_trainer(self, config: dict[str, Any], callbacks: list[Callback]) -> Trainer:
        """Without the callbacks that don't fit the model or the trainer's flags."""
        unfit: tuple[type[Callback], ...] = (
            CLIP_CALLBACKS if isinstance(self.model, WorldModel) else WORLD_MODEL_CALLBACKS
        )
        if isinstance(self.model, ImageSelfDistillation):
            unfit += MASKED_CLIP_CALLBACKS
        if config["enable_checkpointing"] is False or config["fast_dev_run"]:
            unfit += (RunCheckpoint,)
        if config["fast_dev_run"]:  # it has no folder
            unfit += (Heartbeat,)
        if config["enable_progress_bar"] is False:
            unfit += (RunProgress,)
        return super()._instantiate_trainer(config, [each for each in callbacks if not isinstance(each, unfit)])

    def _run_subcommand(self, subcommand: str) -> None:
        settings = self.config[subcommand]
        render_embedded_data(settings.as_dict())
        try:
            with writing(settings.runs / settings.name):
                super()._run_subcommand(subcommand)
        except RuntimeError as error:
            if re.search(r"DataLoader worker .*(killed by signal|exited unexpectedly)", str(error)):
                raise ValueError(
                    f"a process that reads data has died, most often of too little memory; go on with --ckpt_path=last "
                    f"and a smaller --data.num_workers ({' '.join(str(error).split())})"
                ) from None
            monitored = [getattr(callback, "monitor", None) for callback in self.trainer.callbacks]  # type: ignore[attr-defined]
            if not any(name and f"`{name}`" in str(error) for name in monitored):
                raise
            raise ValueError(" ".join(str(error).split())) from None  # a metric that nothing logs

    def _parse_ckpt_path(self) -> None:
        """Lightning would let settings in the checkpoint override the recipe and the command line."""


def _clips_of_probe(of_class: type[LabelledClips], **settings: Any) -> LabelledClips:
    try:
        return of_class(**settings)
    except ValueError as error:
        raise ValueError(f"online_probe.data: {error}") from None


def _takes_weights_of_rank_0(settings: Namespace) -> bool:
    """Whether this process is certain not to be rank 0 of a sharded clip model, whose weights all ranks start from."""
    inside = (each for each in (settings, *vars(settings).values()) if isinstance(each, Namespace))
    part = next((each for each in inside if "trainer" in each and "model" in each), None)
    if part is None:
        return False
    strategy = part.trainer.get("strategy")
    is_sharded = strategy in SHARDED or getattr(strategy, "class_path", "").endswith(ShardedStrategy.__name__)
    # Of other models' encoders some read files, or compute with their first values.
    model = pydoc.locate(part.model.class_path) if is_sharded else None
    return isinstance(model, type) and issubclass(model, ClipModel) and bool(rank_zero_only.rank)  # type: ignore[attr-defined]


def _on_meta_device(of_class: type[nn.Module], *arguments: Any, **settings: Any) -> nn.Module:
    with torch.device("meta"):
        return of_class(*arguments, **settings)


def _link_frame_step(settings: Namespace) -> None:
    """Give the data of a world model its frame_step; a link of jsonargparse would unset that of clips for a JEPA."""
    arguments, key = settings.data.get("init_args", Namespace()), "frame_step"
    step = settings.model.get("init_args", Namespace()).get(key)
    if step is None or key not in arguments:
        return
    if arguments[key] not in (step, inspect.signature(EpisodeDataModule).parameters[key].default):
        raise ValueError(f"data.frame_step ({arguments[key]}) must be model.frame_step ({step}); leave it out")
    arguments[key] = step


def _link_encoder_width(settings: Namespace) -> None:
    """Give the predictor the encoder's width; a link of jsonargparse would not reach a predictor that may be null."""
    arguments = settings.model.get("init_args", Namespace())
    encoder, predictor = arguments.get("encoder"), arguments.get("predictor")
    if not predictor or not encoder or "embed_dim" not in encoder:
        return
    if predictor.get("encoder_dim") in (None, inspect.signature(Predictor).parameters["encoder_dim"].default):
        predictor["encoder_dim"] = encoder["embed_dim"] or SIZES[encoder["size"]].embed_dim


def _name_of_recipe(settings: Namespace) -> str:
    recipes = settings.config or []
    return Path(str(recipes[-1])).stem if recipes else "run"


def _newest_checkpoint(folder: Path) -> Path:
    """The newest whole checkpoint of the run that was written last."""
    found = sorted(folder.glob("*/checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(
            f"there is no run to go on with below {folder} (no */checkpoints/last.ckpt); start one without "
            f"--ckpt_path, or give --name and --runs as they were"
        )
    return _whole_checkpoint(found[-1].parent)


def _whole_checkpoint(folder: Path) -> Path:
    found = newest_whole(checkpoints_of(folder), say)
    if found is None:
        raise ValueError(
            f"there is no whole checkpoint in {folder}; start the run anew, or give a copy of one with --ckpt_path=FILE"
        )
    return found


def _checkpoint_of(path: Path) -> Path:
    """A checkpoint file, or the newest whole one of a run's folder. Raises ValueError where there is none."""
    if path.is_dir() and any((path / "checkpoints").glob("*.ckpt")):
        return _whole_checkpoint(path / "checkpoints")
    file = path / "checkpoints" / "last.ckpt" if path.is_dir() else path
    if not file.exists():
        raise ValueError(f"there is no checkpoint file {file}")
    return file


def _go_on_after_requeue(settings: Namespace, folder: Path | None) -> None:
    """Resume from the newest whole checkpoint of the run's folder; versions before wrote hpc_ckpt_N.ckpt there too."""
    found = [] if folder is None else [*folder.glob("hpc_ckpt_*.ckpt"), *folder.glob("checkpoints/*.ckpt")]
    newest = newest_whole(sorted(found, key=lambda path: path.stat().st_mtime, reverse=True), say)
    if newest is not None:
        settings.ckpt_path = str(newest)


def _version_of_checkpoint(settings: Namespace) -> str | None:
    """The run folder of a checkpoint, where it has this run's name; logs continue there."""
    if not settings.ckpt_path:
        return None
    folder, runs = Path(settings.ckpt_path).resolve(), (settings.runs / settings.name).resolve()
    return folder.relative_to(runs).parts[0] if runs in folder.parents else None


class SaveSettings(SaveConfigCallback):
    """Writes config.yaml to the run's folder. Raises ValueError where another run has written its own there."""

    def setup(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        folder = Path(str(trainer.log_dir))
        checkpoint = self.config.get("ckpt_path")
        goes_on = is_requeued() or (checkpoint and folder.resolve() in Path(checkpoint).resolve().parents)
        free = goes_on or not trainer.is_global_zero or _is_claimed(folder / self.config_filename)
        if not trainer.strategy.broadcast(free):
            raise ValueError(
                f"{folder} is the folder of another run; give another --name, --runs or version of the logger, or go "
                f"on with that run: --ckpt_path={folder}/checkpoints/last.ckpt"
            )
        # Where callbacks and Lightning write.
        trainer._default_root_dir = str(folder)  # type: ignore[attr-defined]
        self.overwrite = True
        super().setup(trainer, module, stage)

    def save_config(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        """Keep where the run comes from beside its settings, and tell the loggers of these; on rank 0."""
        without_folder = [logger for logger in trainer.loggers if not isinstance(logger, WITH_FOLDER)]
        if without_folder:
            settings = yaml.safe_load(self.parser.dump(self.config, skip_none=False))
            for logger in without_folder:  # the others have config.yaml
                logger.log_hyperparams(settings)
        # Not `trainer.log_dir`, which is a collective: all ranks have to ask for it.
        add_origin(Path(trainer.default_root_dir), trainer, trainer.datamodule)  # type: ignore[attr-defined]


def _is_claimed(file: Path) -> bool:
    """Whether this process has made the file; of two that try at the same time one has."""
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        file.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def require_all_processes(world_size: int) -> None:
    """Raise ValueError where a launcher has started more processes than train together: each would train alone."""
    # In an interactive session of SLURM one process was started by hand.
    slurm = ("SLURM_NTASKS",) if SLURMEnvironment.detect() else ()
    number, name = started_processes((*LAUNCHERS, *slurm))
    if number > world_size:
        raise ValueError(
            f"{number} processes were started ({name}), and {world_size} would train together, the others each alone; "
            f"give --trainer.devices (processes on a node), --trainer.num_nodes and --trainer.strategy=ddp, or start "
            f"one process"
        )
