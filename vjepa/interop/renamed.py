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
    "imagined_blocks": "imagined_chunks",
    "keep_gigabytes": "cache_gigabytes",
    "kept_every": "frame_interval",
    "kept_share": "reused_fraction",
    "lasting_dim": "static_dim",
    "max_blocks": "max_chunks",
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
    "vjepa.data.image_views.ImageViews": "vjepa.data.clips.image_views.ImageViews",
    "vjepa.data.trajectory_data_module.TrajectoryDataModule": "vjepa.data.episodes.data_module.EpisodeDataModule",
    "vjepa.models.causal_dynamics.CausalDynamics": "vjepa.models.dynamics.CausalDynamics",
    "vjepa.models.inverse_dynamics.InverseDynamics": "vjepa.models.dynamics.InverseDynamics",
    "vjepa.models.token_dynamics.TokenDynamics": "vjepa.models.dynamics.TokenDynamics",
    "vjepa.objectives.temporal_distance.TemporalDistance": "vjepa.objectives.world.TemporalDistance",
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


def _renamed_class(path: Any) -> Any:
    if isinstance(path, str) and path.startswith("vjepa.callbacks."):
        return f"vjepa.monitoring.{path.rpartition('.')[2]}"
    return CLASS_PATHS.get(path, path) if isinstance(path, str) else path


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
            if key == "class_path" and (path := _renamed_class(part)) != part:
                notes[f"the class {part} is {path} now"] = None
                part = path
            found[new] = visit(part)
        if _is_old_jepa(found):
            found["init_args"] = _with_terms(found["init_args"])
            notes["a JEPA's loss is a table of `terms`, and its `targets` are a class now (CHANGELOG.md)"] = None
        if _is_old_world_model(found):
            found["init_args"] = _with_window_terms(found["init_args"])
            notes[
                "a world model's loss is a table of `terms`, its `targets` are a class, and its networks take their "
                "sizes from `encoder`, `action_dim` and `frame_step` now (configs/worldmodel/two_rooms.yaml)"
            ] = None
        return found

    return visit(settings), list(notes)


_OLD_JEPA_WEIGHTS = {
    "agreement.": "objective.agreement.regularizer.",
    "regularizer.": "objective.regularizer.regularizer.",
}


def renamed_weights(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a JEPA with today's names."""
    return _with_prefixes(weights, _OLD_JEPA_WEIGHTS)


def _with_prefixes(weights: Mapping[str, Any], prefixes: Mapping[str, str]) -> dict[str, Any]:
    """Weights whose names have new prefixes for old ones."""
    renamed_ones = {}
    for name, value in weights.items():
        old = next((old for old in prefixes if name.startswith(old)), "")
        renamed_ones[prefixes.get(old, "") + name.removeprefix(old)] = value
    return renamed_ones


_OLD_JEPA_KEYS = ("agreement", "context_prediction", "distance", "loss_exponent", "regularizer", "teacher")


def was_part_of_a_loss(class_path: str, key: str) -> bool:
    """Whether the model had this argument before its loss was a table of terms."""
    old = {"JEPA": _OLD_JEPA_KEYS, "WorldModel": _OLD_WORLD_MODEL_KEYS}.get(class_path.rpartition(".")[2], ())
    return key.partition(".")[0] in old


def _is_old_jepa(settings: Mapping[str, Any]) -> bool:
    arguments = settings.get("init_args")
    if not isinstance(arguments, Mapping) or not str(settings.get("class_path", "")).endswith(".JEPA"):
        return False
    return any(key in arguments for key in _OLD_JEPA_KEYS) or isinstance(arguments.get("targets"), str)


def _with_terms(old: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a JEPA whose loss was described by keys of its own, as a table of terms."""
    new = {key: value for key, value in old.items() if key not in (*_OLD_JEPA_KEYS, "targets")}
    distance = _distance(old)
    terms: dict[str, Any] = {"prediction": _part("LatentPrediction", distance)}
    # None stays, since a layer may remove the term of its base.
    if "context_prediction" in old:
        context = old["context_prediction"]
        terms["context"] = None if context is None else _part("ContextPrediction", {**context, **distance})
    for name, wrapper in (("agreement", "Agreement"), ("regularizer", "Regularization")):
        if name in old:
            terms[name] = None if old[name] is None else _part(wrapper, {"regularizer": old[name]})
    if len(terms) > 1 or distance:
        new["terms"] = terms
    if old.get("teacher") is not None:
        new["targets"] = {"class_path": "vjepa.training.Teacher", "init_args": {"source": old["teacher"]}}
    elif old.get("targets") == "self":
        new["targets"] = {"class_path": "vjepa.training.OwnTokens"}
    return new


def _distance(old: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a term for the distance that an old model had itself."""
    return {name: old[key] for name, key in (("exponent", "loss_exponent"), ("distance", "distance")) if key in old}


def _part(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {"class_path": f"vjepa.objectives.{name}", **({"init_args": dict(arguments)} if arguments else {})}


_OLD_WORLD_MODEL_WEIGHTS = {
    "action_mean": "actions.mean",
    "action_std": "actions.std",
    "decoder.": "objective.frames.decoder.",
    "dynamics.of_action.": "dynamics.action_layer.",
    "dynamics.of_latent.": "dynamics.latent_layer.",
    "encoder.moving.": "encoder.dynamic_head.",
    "episode_contrast.": "objective.episode_contrast.contrast.",
    "episode_regularizer.": "objective.episode_regularizer.regularizer.",
    "inverse_dynamics.": "objective.inverse_dynamics.network.",
    "limit_size": "actions.limit_size",
    "regularizer.": "objective.regularizer.regularizer.",
    "target_encoder.moving.": "targets.encoder.dynamic_head.",
    "target_encoder.": "targets.encoder.",
}


def renamed_world_model_weights(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Weights of a world model's checkpoint with today's names."""
    weights = _with_prefixes(checkpoint["state_dict"], _OLD_WORLD_MODEL_WEIGHTS)
    if "limit_kind" in checkpoint:
        import torch  # late: every command reads recipes by this module

        weights["actions.limit_is_norm"] = torch.tensor(checkpoint["limit_kind"] == "norm")
    return weights


_OLD_WORLD_MODEL_KEYS = (
    "detach_targets",
    "distance",
    "episode_contrast",
    "episode_regularizer",
    "inverse_dynamics",
    "inverse_dynamics_weight",
    "loss_exponent",
    "predicts",
    "regularizer",
    "rollout_weight",
    "static_dim",
    "straightening_weight",
    "teacher_forcing_weight",
    "time_similarity_weight",
)


def _is_old_world_model(settings: Mapping[str, Any]) -> bool:
    arguments = settings.get("init_args")
    if not isinstance(arguments, Mapping) or not str(settings.get("class_path", "")).endswith(".WorldModel"):
        return False
    has_sizes = any("embed_dim" in _arguments(arguments.get(part)) for part in ("dynamics", "temporal_distance"))
    return (
        has_sizes or any(key in arguments for key in _OLD_WORLD_MODEL_KEYS) or isinstance(arguments.get("targets"), str)
    )


def _with_window_terms(old: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a world model whose loss was described by keys of its own, as a table of terms."""
    new = {key: value for key, value in old.items() if key not in (*_OLD_WORLD_MODEL_KEYS, "targets")}
    for part in ("dynamics", "temporal_distance"):
        if isinstance(new.get(part), Mapping):
            sizes = {"embed_dim"} if part == "temporal_distance" else {"embed_dim", "action_dim"}
            arguments = {key: value for key, value in _arguments(new[part]).items() if key not in sizes}
            new[part] = {**new[part], "init_args": arguments} if "class_path" in new[part] else arguments
    encoder_static_dim = _arguments(old.get("encoder")).get("static_dim", 0)
    static_dim = old.get("static_dim", 0)
    static = {} if static_dim == encoder_static_dim else {"static_dim": static_dim}
    distance = _distance(old)
    terms: dict[str, Any] = {}

    def add(name: str, term: str, key: str | None = None, default: float = 1.0, **arguments: Any) -> None:
        weight = {} if key is None else {"weight": old.get(key, default)}
        terms[name] = _part(f"world.{term}", {**weight, **arguments})

    def add_inverse_dynamics() -> None:
        if old.get("inverse_dynamics") is not None:
            hidden = {key: value for key, value in _arguments(old["inverse_dynamics"]).items() if key == "hidden_dim"}
            add("inverse_dynamics", "InverseDynamicsTerm", "inverse_dynamics_weight", **hidden)

    # In the order of an old optimizer's state.
    if old.get("predicts") == "pixels":
        add_inverse_dynamics()
        add("frames", "FramePrediction", rollout_weight=old.get("rollout_weight", 1.0))
    else:
        add("rollout", "Rollout", "rollout_weight", **distance)
        add("time_similarity", "TimeSimilarity", "time_similarity_weight", 0.0)
        add("straightening", "Straightening", "straightening_weight", 0.0)
        add_inverse_dynamics()
        if old.get("teacher_forcing_weight"):
            add("teacher_forcing", "TeacherForcing", "teacher_forcing_weight", **distance)
        if old.get("episode_contrast") is not None:
            contrast = _arguments(old["episode_contrast"])
            projector = {key: value for key, value in _arguments(contrast["projector"]).items() if key != "input_dim"}
            own = {key: value for key, value in contrast.items() if key != "projector"}
            add("episode_contrast", "EpisodeContrast", **own, **projector, **static)
        for name, term, more in (
            ("regularizer", "FrameRegularization", {}),
            ("episode_regularizer", "EpisodeRegularization", static),
        ):
            if old.get(name) is not None:
                add(name, term, regularizer=old[name], **more)
    targets = "AverageLatents" if old.get("targets") == "average" else "DetachedLatents"
    if old.get("targets") == "average" or old.get("detach_targets"):
        new["targets"] = {"class_path": f"vjepa.training.{targets}"}
    return {**new, "terms": terms}


def _arguments(part: Any) -> Mapping[str, Any]:
    """Arguments of a part, which a recipe may give without a `class_path`."""
    if not isinstance(part, Mapping):
        return {}
    return part.get("init_args") or {} if "class_path" in part else part
