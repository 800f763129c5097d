"""`vjepa fit|validate|test|predict`: Lightning's command line over our parts, one folder for each run."""

import inspect
import os
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.plugins.environments import SLURMEnvironment  # type: ignore[attr-defined]
from lightning.pytorch.plugins.io import CheckpointIO

from vjepa.cli.parser import HelpfulParser
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.models import SIZES, EncoderSize
from vjepa.monitoring import (
    ClosingSummary,
    CollapseMonitor,
    DataUsage,
    GradientNorm,
    OnlineProbe,
    Pictures,
    RunCheckpoint,
    RunProgress,
    Throughput,
    TokenWriter,
    WorldModelHealth,
)
from vjepa.training import ImageSelfDistillation, WorldModel
from vjepa.training.checkpoint import AtomicCheckpointIO

RUN_CALLBACKS = (
    ("checkpoint", RunCheckpoint),
    ("collapse_monitor", CollapseMonitor),
    ("online_probe", OnlineProbe),
    ("pictures", Pictures),
    ("progress", RunProgress),
    ("world_model_health", WorldModelHealth),
)

# Callbacks for one kind of model, removed where another kind is trained.
MASKED_CLIP_CALLBACKS = (CollapseMonitor, Pictures)
CLIP_CALLBACKS = (*MASKED_CLIP_CALLBACKS, OnlineProbe)
WORLD_MODEL_CALLBACKS = (WorldModelHealth,)


def run_training_command(arguments: list[str]) -> None:
    """Parse and run one of Lightning's subcommands, e.g. `["fit", "-c", "recipe.yaml"]`."""
    TrainingCLI(arguments)


class TrainingParser(HelpfulParser, LightningArgumentParser):
    """The same over Lightning's parser, which is imported for training alone: it takes 3 s."""

    def instantiate(self, namespace: Namespace, *more: Any, **options: Any) -> Namespace:
        options["instantiators"] = [(_clips_of_probe, LabelledClips, True)]
        parts: Namespace = super().instantiate(namespace, *more, **options)
        return parts


class TrainingCLI(LightningCLI):
    """A run's folder is `{runs}/{name}/version_{k}`: TensorBoard events, resolved config, checkpoints, quarantine.

    `--ckpt_path last` resumes in the newest such folder that holds a checkpoint.
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
            save_config_kwargs={"overwrite": True},  # a requeued job writes to its earlier folder
            trainer_defaults={
                # Steps count the length of a run and the interval between validations.
                "max_epochs": -1,
                "check_val_every_n_epoch": None,
                "val_check_interval": 100,
                "log_every_n_steps": 10,
                "num_sanity_val_steps": 0,
                "use_distributed_sampler": False,  # our own order is already split over ranks
                "enable_model_summary": False,
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
        parser.link_arguments(
            ("model.init_args.encoder.size", "model.init_args.encoder.embed_dim"),
            "model.init_args.predictor.encoder_dim",
            compute_fn=_encoder_width,
        )
        for key in ("tubelet", "image_tokenizer"):
            parser.link_arguments(f"model.init_args.encoder.{key}", f"data.init_args.{key}")

    def before_instantiate_classes(self) -> None:
        settings = self.config[self.subcommand]
        settings.name = settings.name or _name_of_recipe(settings)
        settings.weights_only = True
        _link_frame_step(settings)
        if self.subcommand == "predict":
            settings.return_predictions = False  # `TokenWriter` writes them batch by batch
        if settings.ckpt_path == "last":
            settings.ckpt_path = str(_newest_checkpoint(settings.runs / settings.name))
        if self.subcommand != "fit" and not settings.ckpt_path:
            raise ValueError(
                f"`vjepa {self.subcommand}` needs trained weights, and would use random ones: give --ckpt_path=FILE, "
                f"or --ckpt_path=last for the newest run below {settings.runs / settings.name} (`vjepa embed "
                f"--checkpoint=RECIPE` writes features of a recipe's random weights)"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        settings = self.config_init[self.subcommand]
        if self.subcommand != "fit":
            self.save_config_callback = None  # the folder keeps the settings of training
        given = settings.trainer
        plugins = given.plugins if isinstance(given.plugins, list) else [given.plugins] if given.plugins else []
        if not any(isinstance(plugin, CheckpointIO) for plugin in plugins):
            kwargs["plugins"] = [*plugins, AtomicCheckpointIO()]
        if given.logger in (None, True):
            version = _version_of_checkpoint(settings) or _version_of_job()
            logger = TensorBoardLogger(settings.runs, settings.name, version, default_hp_metric=False)
            kwargs["logger"] = logger
            if given.default_root_dir is None:  # a pre-empted job saves its checkpoint there
                kwargs["default_root_dir"] = logger.log_dir if version else logger.root_dir
        trainer = super().instantiate_trainer(**kwargs)
        unfit: tuple[type[Callback], ...] = (
            CLIP_CALLBACKS if isinstance(self.model, WorldModel) else WORLD_MODEL_CALLBACKS
        )
        if isinstance(self.model, ImageSelfDistillation):
            unfit += MASKED_CLIP_CALLBACKS
        trainer.callbacks = [callback for callback in trainer.callbacks if not isinstance(callback, unfit)]  # type: ignore[attr-defined]
        return trainer

    def _parse_ckpt_path(self) -> None:
        """Lightning would let settings in the checkpoint override the recipe and the command line."""


def _clips_of_probe(of_class: type[LabelledClips], **settings: Any) -> LabelledClips:
    try:
        return of_class(**settings)
    except ValueError as error:
        raise ValueError(f"online_probe.data: {error}") from None


def _link_frame_step(settings: Namespace) -> None:
    """Give the data of a world model its frame_step; a link of jsonargparse would unset that of clips for a JEPA."""
    arguments, key = settings.data.get("init_args", Namespace()), "frame_step"
    step = settings.model.get("init_args", Namespace()).get(key)
    if step is None or key not in arguments:
        return
    if arguments[key] not in (step, inspect.signature(EpisodeDataModule).parameters[key].default):
        raise ValueError(f"data.frame_step ({arguments[key]}) must be model.frame_step ({step}); leave it out")
    arguments[key] = step


def _encoder_width(size: EncoderSize, embed_dim: int | None) -> int:
    return embed_dim or SIZES[size].embed_dim


def _name_of_recipe(settings: Namespace) -> str:
    recipes = settings.config or []
    return Path(str(recipes[-1])).stem if recipes else "run"


def _newest_checkpoint(folder: Path) -> Path:
    found = sorted(folder.glob("*/checkpoints/last.ckpt"), key=lambda path: path.stat().st_mtime)
    if not found:
        raise ValueError(
            f"there is no run to go on with below {folder} (no */checkpoints/last.ckpt); start one without "
            f"--ckpt_path, or give --name and --runs as they were"
        )
    return found[-1]


def _version_of_checkpoint(settings: Namespace) -> str | None:
    """The run folder of a checkpoint, where it has this run's name; logs continue there."""
    if not settings.ckpt_path:
        return None
    folder = Path(settings.ckpt_path).resolve().parent.parent
    return folder.name if folder.parent == (settings.runs / settings.name).resolve() else None


def _version_of_job() -> str | None:
    """The job's number under SLURM, so that a requeued job resumes in its own folder."""
    return f"job_{os.environ['SLURM_JOB_ID']}" if SLURMEnvironment.detect() else None
