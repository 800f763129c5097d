"""Names that recipes and runs of older versions use, and what they are called now.

A renamed key or class stays readable for a version. Reading a recipe or a run's `config.yaml` calls `renamed` first.
"""

import functools
import json
import sys
from collections.abc import Mapping
from typing import Any

import yaml

# Keys whose old name means one thing wherever it stands, at any depth of a recipe.
KEYS = {
    "change_gain": "difference_gain",
    "colour_changes": "color_jitter",
    "colour_strength": "color_jitter",
    "door_share": "door_probability",
    "erase_share": "erase_probability",
    "errand_share": "target_probability",
    "flip_share": "flip_probability",
    "floors": "baselines",
    "frames_apart": "per_frame",
    "grey_share": "grayscale_probability",
    "keep_gigabytes": "cache_gigabytes",
    "kept_every": "frame_interval",
    "max_bad_share": "max_bad_fraction",
    "min_ever": "min_separation",
    "share": "mask_ratio",
    "share_of_first": "fraction_of_first",
    "shrunk_to": "shrunk_fraction",
    "still_prototypes": "freeze_prototypes_steps",
    "val_share": "val_fraction",
}

# Classes that a recipe may name by `class_path`.
CLASS_PATHS = {
    "vjepa.data.clip_data_module.ClipDataModule": "vjepa.data.clips.data_module.ClipDataModule",
    "vjepa.data.trajectory_data_module.TrajectoryDataModule": "vjepa.data.episodes.data_module.EpisodeDataModule",
    "vjepa.models.causal_dynamics.CausalDynamics": "vjepa.models.dynamics.CausalDynamics",
    "vjepa.models.inverse_dynamics.InverseDynamics": "vjepa.models.dynamics.InverseDynamics",
    "vjepa.models.token_dynamics.TokenDynamics": "vjepa.models.dynamics.TokenDynamics",
}


@functools.cache
def note(text: str) -> None:
    """Print a line to stderr, once per process."""
    sys.stderr.write(f"vjepa: note: {text}\n")


def renamed_flags(arguments: list[str]) -> list[str]:
    """Arguments of a command whose flags (`--data.num_frames=8`) have today's names; prints the new ones."""
    return [_renamed_flag(argument) if argument.startswith("--") else argument for argument in arguments]


def _renamed_flag(argument: str) -> str:
    key, equals, value = argument.removeprefix("--").partition("=")
    new = _renamed_key(key)
    if new != key:
        note(f"the key '{key}' is called '{new}' now")
    if value[:1] in "[{" and value:
        try:
            settings, notes = renamed(yaml.safe_load(value))
        except yaml.YAMLError:
            settings, notes = None, []  # the parser reports it
        for text in notes:
            note(text)
        value = json.dumps(settings) if notes else value
    return f"--{new}{equals}{value}"


def _renamed_key(key: str) -> str:
    return ".".join(KEYS.get(word, word) for word in key.split("."))


def renamed(settings: Any) -> tuple[Any, list[str]]:
    """Settings with today's names, and one line for each name that was an old one."""
    notes: dict[str, None] = {}  # each line once, in order

    def visit(value: Any) -> Any:
        if isinstance(value, list):
            return [visit(part) for part in value]
        if not isinstance(value, dict):
            return value
        found: dict[Any, Any] = {}
        for key, part in value.items():
            new = _renamed_key(key) if isinstance(key, str) else key
            if new != key:
                notes[f"the key '{key}' is called '{new}' now"] = None
            if key == "class_path" and part in CLASS_PATHS:
                notes[f"the class {part} is {CLASS_PATHS[part]} now"] = None
                part = CLASS_PATHS[part]
            found[new] = visit(part)
        if _is_old_jepa(found):
            found["init_args"] = _with_terms(found["init_args"])
            notes["a JEPA's loss is a table of `terms`, and its `targets` are a class now (configs/README.md)"] = None
        return found

    return visit(settings), list(notes)


def renamed_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a JEPA with today's names."""
    return {
        f"objective.{name.replace('.', '.regularizer.', 1)}"
        if name.startswith(("agreement.", "regularizer."))
        else name: value
        for name, value in weights.items()
    }


_OLD_JEPA_KEYS = ("agreement", "context_prediction", "distance", "loss_exponent", "regularizer", "teacher")


def _is_old_jepa(settings: Mapping[str, Any]) -> bool:
    arguments = settings.get("init_args")
    if not isinstance(arguments, Mapping) or not str(settings.get("class_path", "")).endswith(".JEPA"):
        return False
    return any(key in arguments for key in _OLD_JEPA_KEYS) or isinstance(arguments.get("targets"), str)


def _with_terms(old: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a JEPA whose loss was described by keys of its own, as a table of terms."""
    new = {key: value for key, value in old.items() if key not in (*_OLD_JEPA_KEYS, "targets")}
    distance = {name: old[key] for name, key in (("exponent", "loss_exponent"), ("distance", "distance")) if key in old}
    terms: dict[str, Any] = {"prediction": _part("LatentPrediction", distance)}
    if old.get("context_prediction") is not None:
        terms["context"] = _part("ContextPrediction", {**old["context_prediction"], **distance})
    for name, wrapper in (("agreement", "Agreement"), ("regularizer", "Regularization")):
        if old.get(name) is not None:
            terms[name] = _part(wrapper, {"regularizer": old[name]})
    if len(terms) > 1 or distance:
        new["terms"] = terms
    if old.get("teacher") is not None:
        new["targets"] = {"class_path": "vjepa.training.Teacher", "init_args": {"source": old["teacher"]}}
    elif old.get("targets") == "self":
        new["targets"] = {"class_path": "vjepa.training.OwnTokens"}
    return new


def _part(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_path": f"vjepa.objectives.{name}", **({"init_args": dict(arguments)} if arguments else {})}
