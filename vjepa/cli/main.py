"""The `vjepa` command: training by Lightning's command line, and our own commands beside it."""

import difflib
import errno
import logging
import os
import sys
import threading
import warnings
from importlib import import_module
from typing import NamedTuple

from vjepa.cli.everyday_flags import everyday_flags
from vjepa.processors import prepare_threads, started_processes

TRAINING = "training:run_training_command"


class Command(NamedTuple):
    """A function of `vjepa.cli`, imported only when its command runs."""

    function: str  # "module:function", which takes the arguments after the command's name
    help: str
    example: str  # what follows `vjepa` and the command's name
    quiet: bool = False  # starts a trainer for each probe or recipe, so Lightning's lines about devices are left out


COMMANDS = {
    "fit": Command(
        TRAINING,
        "train a model by a recipe",
        "-c synthetic --trainer.max_steps=100",
    ),
    "validate": Command(
        TRAINING,
        "one pass over the validation clips",
        "-c synthetic --ckpt_path=last",
    ),
    "test": Command(
        TRAINING,
        "one pass over the test clips",
        "-c synthetic --ckpt_path=last",
    ),
    "predict": Command(
        TRAINING,
        "write the target encoder's tokens of the validation clips",
        "-c synthetic --ckpt_path=last",
    ),
    "probe": Command(
        "evaluation.probe_command:run_probe_command",
        "frozen evaluation of a checkpoint: kNN, linear and attentive probes beside baselines",
        "-c folder --data.train_manifest=labelled_videos/ --checkpoint=runs/my_videos/version_0",
        quiet=True,
    ),
    "finetune": Command(
        "evaluation.finetune_command:run_finetune_command",
        "train a checkpoint's encoder with labels, whole or by low-rank adapters, beside frozen and from scratch",
        "-c synthetic --checkpoint=synthetic --methods=[whole,frozen]",
        quiet=True,
    ),
    "segment": Command(
        "evaluation.segment_command:run_segment_command",
        "objects in frozen features: without labels, by heads, by propagation of masks, beside baselines",
        "-c synthetic --checkpoint=synthetic",
        quiet=True,
    ),
    "compare": Command(
        "evaluation.compare_command:run_compare_command",
        "one encoder under several objectives: a table, and pictures of blurred pixels and of collapse",
        "-c synthetic --steps=200",
        quiet=True,
    ),
    "label-efficiency": Command(
        "evaluation.label_efficiency_command:run_label_efficiency_command",
        "labels saved by pretraining: accuracy against labels and unlabelled clips, and a picture",
        "-c synthetic --seeds=[0,1,2]",
        quiet=True,
    ),
    "collect": Command(
        "simulation.collect_command:run_collect_command",
        "write episodes of a simulated world for a world model",
        "-c two_rooms --episodes=100",
    ),
    "plan": Command(
        "simulation.plan_command:run_plan_command",
        "closed-loop planning with world models beside baselines: table, JSON, pictures",
        "-c two_rooms --checkpoint=two_rooms --episodes=20",
    ),
    "anticipate": Command(
        "evaluation.anticipation_command:run_anticipation_command",
        "frozen evaluation of encoder and predictor on future actions (EPIC-Kitchens-100)",
        "-c epic_kitchens100 --checkpoint=vitl.pt",
        quiet=True,
    ),
    "surprise": Command(
        "evaluation.surprise_command:run_surprise_command",
        "prediction error over time with past-only context: possible and impossible clips, beside baselines",
        "-c physics --checkpoint=physics",
        quiet=True,
    ),
    "convert": Command(
        "conversion.convert_command:run_convert_command",
        "convert a model between formats: native, released, Hugging Face",
        "synthetic models/synthetic --to=native",
    ),
    "embed": Command(
        "embed_command:run_embed_command",
        "write features of videos, folders and manifests, from any checkpoint",
        "videos/ -o features --checkpoint=synthetic",
    ),
    "import-recipe": Command(
        "conversion.import_recipe_command:run_import_recipe_command",
        "turn a training YAML of the released code into a recipe",
        "pretrain-256px-16f.yaml -o mine.yaml",
    ),
    "health-bands": Command(
        "health_bands_command:run_health_bands_command",
        "curves of healthy runs of a recipe, and pictures of runs over them",
        "runs/synthetic --pictures=pictures",
    ),
    "make-data": Command(
        "data_commands:make_data",
        "render the embedded dataset to mp4 files",
        "--folder=data/synthetic",
    ),
    "manifest": Command(
        "data_commands:manifest",
        "list videos in a manifest, with the facts of each file",
        "videos/ --output=videos.csv",
    ),
    "doctor": Command(
        "data_commands:doctor",
        "check every file of a dataset, and list the good ones",
        "videos.csv --output=doctor",
    ),
    "recipes": Command(
        "recipes_command:run_recipes_command",
        "list the recipes, with task, hardware and hours",
        "laptop",
    ),
    "completion": Command(
        "completion_command:run_completion_command",
        "a script that completes commands, flags and recipes on Tab",
        "bash > ~/.local/share/bash-completion/completions/vjepa",
    ),
    "transcode": Command(
        "data_commands:transcode",
        "make copies of videos that decode fast",
        "videos.csv --output=copies --short_side=256",
    ),
    "show": Command(
        "show_command:run_show_command",
        "look before you train: a recipe's augmented clips, masks and views as PNG or mp4",
        "my_videos/ -c my_videos -o show.png",
        quiet=True,
    ),
    "plan-run": Command(
        "plan_run_command:run_plan_run_command",
        "what a recipe will take: memory by part, FLOPs, data to decode, checkpoints, hours",
        "vjepa2_vitl16_256px_16f --gpu=h200 --devices=64",
        quiet=True,
    ),
    "replay": Command(
        "replay_command:run_replay_command",
        "one skipped training step again, alone: its loss, and its clips",
        "runs/synthetic/version_0/skipped/step_120",
        quiet=True,
    ),
    "runs": Command(
        "runs_command:run_runs_command",
        "all runs below a folder in one table: what differs in their settings, step, loss, verdict, results",
        "runs --output=runs.csv",
        quiet=True,
    ),
    "report": Command(
        "report_command:run_report_command",
        "everything about a run, or several side by side, on one HTML page",
        "runs/synthetic",
    ),
}

# What other tools, our Makefile and the wish for the obvious call them.
OTHER_NAMES = {
    "train": "fit",
    "pretrain": "fit",
    "worldmodel": "fit",
    "eval": "probe",
    "evaluate": "probe",
    "fine-tune": "finetune",
    "lora": "finetune",
    "export": "convert",
    "extract": "embed",
    "check": "doctor",
}


def main(arguments: list[str] | None = None) -> None:
    """Run one command. A user's error ends in one sentence on stderr and exit code 2; VJEPA_TRACEBACK=1 shows where.

    A run stopped by its collapse monitor ends with exit code 3.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return
    prepare_threads()  # before torch is imported
    name = arguments[0]
    if name not in COMMANDS:
        near = [OTHER_NAMES[name]] if name in OTHER_NAMES else difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        _exit_with(f"unknown command '{name}'{hint} (commands: {', '.join(COMMANDS)})")
    threading.excepthook = _report_of_thread
    if {"-h", "--help"} & set(arguments[1:]):
        print(f"{COMMANDS[name].help}\n\nexample: vjepa {name} {COMMANDS[name].example}\n")
        if name == "fit":
            print(everyday_flags())
    try:
        _run(COMMANDS[name], arguments)
    except Exception as error:
        code = _exit_code(error)
        if code is None or (code == 2 and os.environ.get("VJEPA_TRACEBACK")):
            raise
        _exit_with(_disk_reason(error) or _plain_reason(str(error)), code)
    except KeyboardInterrupt:
        _exit_with("stopped by Ctrl-C", code=130)


def _run(command: Command, arguments: list[str]) -> None:
    module, _, name = command.function.partition(":")
    function = getattr(import_module(f"vjepa.cli.{module}"), name)
    trains = command.function == TRAINING
    if not trains:
        _require_one_process(arguments[0])
    if trains or command.quiet:
        _quieten_lightning(devices_too=command.quiet)
    function(arguments if trains else arguments[1:])


def _require_one_process(name: str) -> None:
    """Raise ValueError where a launcher has started several, each of which would do all of the work."""
    number, variable = started_processes()
    if number > 1:
        raise ValueError(f"`vjepa {name}` is one process, and {number} were started ({variable}); start one")


def _exit_code(error: Exception) -> int | None:
    """2 for a user's error, 3 for a run stopped by its collapse monitor, None for any other."""
    if isinstance(error, ValueError) or _disk_reason(error):
        return 2
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    from vjepa.monitoring.health.collapse_watch_actions import CollapsedRunError

    return 2 if isinstance(error, MisconfigurationException) else 3 if isinstance(error, CollapsedRunError) else None


def _quieten_lightning(devices_too: bool) -> None:
    """Filter out messages that a user can do nothing about."""
    if devices_too:
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    for message in (
        "You're resuming from a checkpoint that ended before the epoch ended",  # our order resumes in mid-epoch
        ".*does not have many workers which may be a bottleneck",  # the time spent waiting for data is logged
        ".*number of training batches .* is smaller than the logging interval",
        "Found .* module.* in eval mode at the start of training",  # the target encoder, by design
        "It is recommended to use .*sync_dist=True",  # losses are averaged over ranks before they are logged
        "Total length of `list` across ranks is zero",  # a run without validation clips
        "You defined a `validation_step` but have no `val_dataloader`",
        "LightningCLI's args parameter is intended to run from within Python",
        ".*isinstance\\(treespec, LeafSpec\\)",
    ):
        warnings.filterwarnings("ignore", message=message)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def _disk_reason(error: BaseException) -> str | None:
    """What a full disk, or one that can't be written, is to a user; None for other errors."""
    from vjepa.data.atomic_file import disk_error

    cause = disk_error(error)
    if cause is None:
        return None
    where = cause.filename or "the disk"
    full = cause.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    way_out = "free some space, or give another folder" if full else "give a folder that can be written"
    return f"{where}: {os.strerror(cause.errno or 0)}; {way_out} (files that were whole before still are)"


def _report_of_thread(error: threading.ExceptHookArgs) -> None:
    """What a thread could not write (TensorBoard's) the main thread reports."""
    if error.exc_value is None or _disk_reason(error.exc_value) is None:
        threading.__excepthook__(error)


def _plain_reason(message: str) -> str:
    """The sentence itself, without what the parser or a data worker wrapped around it."""
    if message.startswith("Does not validate against any of the Union subtypes"):
        inside = message.split("Errors:\n", 1)[1].split("\nGiven value type:", 1)[0]
        reasons = [part for part in inside.split("\n  - ") if "NoneType" not in part]
        return _plain_reason(reasons[0].removeprefix("  - ").strip())
    if message.startswith("Caught ") and "\nOriginal Traceback" in message:
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {command.help}" for name, command in COMMANDS.items()]
    return (
        "usage: vjepa COMMAND [options]\n\n"
        + "\n".join(lines)
        + "\n\n`vjepa COMMAND --help` lists the options of a command. Threads of OpenMP sleep while they wait "
        "(OMP_WAIT_POLICY=PASSIVE)\nunless the environment says otherwise."
    )


def _exit_with(message: str, code: int = 2) -> None:
    sys.stderr.write(f"vjepa: error: {message}\n")
    sys.exit(code)
