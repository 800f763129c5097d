"""The `vjepa` command: training by Lightning's command line, and our own commands beside it."""

import difflib
import logging
import os
import sys
import warnings
from collections.abc import Callable

COMMANDS = {
    "fit": "train a model by a recipe",
    "validate": "one pass over the validation clips",
    "test": "one pass over the test clips",
    "predict": "write the target encoder's tokens of the validation clips",
    "probe": "frozen evaluation of a checkpoint: kNN, linear and attentive probes beside baselines",
    "compare": "one encoder under several objectives: a table, and pictures of why pixels blur and of collapse",
    "collect": "run a simulated world, and write episodes for a world model to learn from",
    "plan": "closed-loop planning with world models, beside what plans nothing: table, JSON, pictures",
    "anticipate": "what will be done next: frozen evaluation of encoder and predictor (EPIC-Kitchens-100)",
    "convert": "a model from one format to another: native, released, Hugging Face",
    "embed": "write features of videos, folders and manifests, from any checkpoint",
    "import-recipe": "make a recipe of a training YAML of the released code",
    "health-bands": "curves of healthy runs of a recipe, and pictures of runs over them",
    "make-data": "render the embedded dataset to mp4 files",
    "manifest": "list videos in a manifest, each looked at once",
    "doctor": "look at every file of a dataset, and list what is good",
    "transcode": "make copies of videos that decode fast",
}


def main(arguments: list[str] | None = None) -> None:
    """Run one command. A user's slip ends in one sentence on stderr and exit code 2; VJEPA_TRACEBACK=1 shows where.

    A run that its collapse watch has stopped ends with exit code 3.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_usage())
        return
    name = arguments[0]
    if name not in COMMANDS:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        _exit_with(f"unknown command '{name}'{hint} (commands: {', '.join(COMMANDS)})")
    try:
        _command(name)(arguments[1:])
    except (ValueError, _misconfiguration()) as error:
        if os.environ.get("VJEPA_TRACEBACK"):
            raise
        _exit_with(_plain_reason(str(error)))
    except RuntimeError as error:
        from vjepa.monitoring.health.collapse_watch_actions import SickRunError

        if not isinstance(error, SickRunError):
            raise
        _exit_with(str(error), code=3)


def _command(name: str) -> Callable[[list[str]], None]:
    # Imported here: each command pays only for what it needs.
    if name in ("make-data", "manifest", "doctor", "transcode"):
        from vjepa.cli.data_commands import DATA_COMMANDS

        return DATA_COMMANDS[name]
    if name == "probe":
        from vjepa.cli.probe_command import run_probe_command

        _quieten_lightning(devices_too=True)
        return run_probe_command
    if name == "compare":
        from vjepa.cli.compare_command import run_compare_command

        _quieten_lightning(devices_too=True)
        return run_compare_command
    if name == "anticipate":
        from vjepa.cli.anticipation_command import run_anticipation_command

        _quieten_lightning(devices_too=True)
        return run_anticipation_command
    if name == "plan":
        from vjepa.cli.plan_command import run_plan_command

        return run_plan_command
    if name == "collect":
        from vjepa.cli.collect_command import run_collect_command

        return run_collect_command
    if name == "convert":
        from vjepa.cli.convert_command import run_convert_command

        return run_convert_command
    if name == "embed":
        from vjepa.cli.embed_command import run_embed_command

        return run_embed_command
    if name == "health-bands":
        from vjepa.cli.health_bands_command import run_health_bands_command

        return run_health_bands_command
    if name == "import-recipe":
        from vjepa.cli.import_recipe_command import run_import_recipe_command

        return run_import_recipe_command
    from vjepa.cli.training import run_training_command

    _quieten_lightning()
    return lambda rest: run_training_command([name, *rest])


def _misconfiguration() -> type[Exception]:
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    return MisconfigurationException


def _quieten_lightning(devices_too: bool = False) -> None:
    """Leave out what no user can act on; `devices_too` for commands that start a trainer for every probe."""
    if devices_too:
        logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(_is_no_tip)
    for message in (
        "You're resuming from a checkpoint that ended before the epoch ended",  # our order resumes in mid-epoch
        ".*does not have many workers which may be a bottleneck",  # the share of data wait is shown
        ".*number of training batches .* is smaller than the logging interval",
        "Found .* module.* in eval mode at the start of training",  # the target encoder, by design
        "It is recommended to use .*sync_dist=True",  # losses are means over ranks before they are logged
        "Total length of `list` across ranks is zero",  # no validation clips were asked for
        "You defined a `validation_step` but have no `val_dataloader`",
        "LightningCLI's args parameter is intended to run from within Python",
        ".*isinstance\\(treespec, LeafSpec\\)",
    ):
        warnings.filterwarnings("ignore", message=message)


def _is_no_tip(record: logging.LogRecord) -> bool:
    return "Tip:" not in record.getMessage()


def _plain_reason(message: str) -> str:
    """The sentence itself, out of what the command line's parser or a data worker wrapped around it."""
    if message.startswith("Does not validate against any of the Union subtypes"):
        inside = message.split("Errors:\n", 1)[1].split("\nGiven value type:", 1)[0]
        reasons = [part for part in inside.split("\n  - ") if "NoneType" not in part]
        return _plain_reason(reasons[0].removeprefix("  - ").strip())
    if message.startswith("Caught ") and "\nOriginal Traceback" in message:
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message


def _usage() -> str:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:<{width}}  {what}" for name, what in COMMANDS.items()]
    return (
        "usage: vjepa COMMAND [options]\n\n"
        + "\n".join(lines)
        + "\n\n`vjepa COMMAND --help` tells a command's options."
    )


def _exit_with(message: str, code: int = 2) -> None:
    sys.stderr.write(f"vjepa: error: {message}\n")
    sys.exit(code)
