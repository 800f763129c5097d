"""A training YAML of the released V-JEPA code (1, 2 and 2.1: pretraining and cooldown) as a recipe of ours.

Each key becomes a value of our recipe, or a note, or both. A note says that a key has no effect there or here, that its
effect differs, or that it is unknown.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from vjepa.interop.upstream.settings import Note, Settings, nearest
from vjepa.models import OUTPUT_LEVELS, SIZES, EncoderSize

APPS = ("vjepa", "vjepa_2_1")
# Names of networks: our size, and the number of heads where it differs from that of the size.
NETWORKS: dict[str, tuple[EncoderSize, int | None]] = {
    "vit_tiny": ("tiny", None),
    "vit_small": ("small", None),
    "vit_base": ("base", None),
    "vit_large": ("large", None),
    "vit_huge": ("huge", None),
    "vit_giant": ("giant", 16),
    "vit_giant_xformers": ("giant", None),
    "vit_gigantic": ("gigantic", 16),
    "vit_gigantic_xformers": ("gigantic", None),
}
PRECISIONS = {"bfloat16": "bf16-mixed", "float16": "16-mixed", "float32": "32-true"}
RAMP = [15_000, 30_000]  # of the context loss in 2.1, a constant of the released code

# Notes on keys that have no effect on results, there or here.
WITHOUT_EFFECT = {
    note: keys.split()
    for note, keys in {
        "of the SLURM job: ask for it there (scripts/pretrain.sbatch)": "cpus_per_task mem_per_gpu",
        "a run's folder is runs/NAME/version_N here: --runs and --name": "folder logging.folder",
        "names the run's files there: --name here": "logging.write_tag",
        "always on here": "data.persistent_workers img_data.persistent_workers meta.use_sdpa",
        "always on here, where there is a GPU": "data.pin_mem img_data.pin_mem",
        "here only the frames of a clip are decoded, always": "data.decode_one_clip",
        "a short file is spread evenly over the clip here; `vjepa doctor` lists them": "data.filter_short_videos",
        "here a file's length does not matter; `vjepa doctor` lists files to leave out": "data.filter_long_videos",
        "there are no images": "img_data img_mask",
        "one number for all sources here: data.num_workers": "img_data.num_workers",
        "that of the videos, there too": "img_data.patch_size",
        "always 1 for images, there too": "img_data.tubelet_size",
        "an image has no rate": "img_data.fps",
        "not used there": "meta.eval_freq model.local_window model.pred_local_window model.vit_conv",
        "runs go on by --ckpt_path=last here": "meta.load_checkpoint",
        "order goes on by itself here, batch for batch (--ckpt_path=last)": "meta.skip_batches",
        "affects speed only; not offered": "meta.sync_gc model.compile_model",
        "a stopped run goes on by --ckpt_path=last here": "optimization.resume_anneal",
        "of the guard against spikes of the loss, which is not offered": (
            "optimization.loss_reg_num_tracking_steps optimization.loss_reg_min_epoch"
        ),
    }.items()
}
NOTES = {key: note for note, keys in WITHOUT_EFFECT.items() for key in keys}
# Keys that would change results in a way that is not offered: (the value that changes nothing, the change).
NOT_OFFERED: dict[str, tuple[Any, str]] = {
    "data_aug.motion_shift": (False, "crops that move over the clip"),
    "loss.reg_coeff": (0, "a variance term beside the loss"),
    "loss.shift_by_n": (0, "targets that are moved in time"),
    "meta.read_checkpoint": (None, "going on with a checkpoint of theirs, Adam's moments included"),
    "model.use_mask_tokens": (True, "noise in the place of mask tokens"),
    "model.has_cls_first": (False, "a class token"),
    "model.n_registers": (0, "register tokens in the encoder"),
    "model.n_registers_predictor": (0, "register tokens in the predictor"),
    "model.normalize_predictor": (False, "a norm on the predictions"),
    "model.init_type": ("default", "another initialisation"),
    "model.is_causal": (False, "causal attention in the encoder"),
    "model.pred_is_causal": (False, "causal attention in the predictor"),
    "optimization.use_radamw": (False, "another optimizer, whose code was not released"),
    "optimization.loss_reg_std_mult": (None, "a guard that skips steps of unusually high loss"),
}
CONTEXT_KEYS = (
    "loss.offset_context_loss",
    "loss.weight_distance_loss",
    "model.lambda_progressive",
    "model.lambda_value_img",
    "model.lambda_value_vid",
)
KEYS_OF_2_1 = {
    *CONTEXT_KEYS,
    "loss.predict_all",
    "model.img_temporal_dim_size",
    "model.interpolate_rope",
    "model.modality_embedding",
    "model.levels_predictor",
    "model.n_output_distillation",
}


class ImportedRecipe(NamedTuple):
    """A recipe in the two parts of our files, with notes and the size of the job."""

    results: dict[str, Any]  # what changes results: model, data, trainer
    speed: dict[str, Any]  # what only changes speed and memory, and what is kept; by dotted key
    notes: list[Note]
    family: str
    nodes: int
    devices: int

    @property
    def recipe(self) -> dict[str, Any]:
        """Both parts together, as one file has them."""
        return {**self.results, **self.speed}


def import_recipe(upstream: Any) -> ImportedRecipe:
    """Our recipe for a training YAML of the released code.

    Raises ValueError where it is no such YAML, or lacks a required key.
    """
    settings = Settings(_checked(upstream))
    is_v2_1, is_v1 = settings.take("app") == "vjepa_2_1", _is_v1(upstream)
    if not is_v2_1:
        of_images = {key for key in settings.values if key.startswith(("img_data.", "img_mask["))}
        for key in sorted((KEYS_OF_2_1 & settings.values.keys()) | of_images):
            settings.drop(key, "no effect in this app, there too: it is of V-JEPA 2.1")
    nodes, devices = (settings.number(key, 1, int) for key in ("nodes", "tasks_per_node"))
    model = _model(settings, is_v1, is_v2_1)
    steps, steps_per_epoch, schedules, trainer = _optimization(settings)
    data, speed = _data(settings, nodes * devices)
    accumulated = _add_images(settings, data, nodes * devices)
    if accumulated and not model["encoder"].get("image_tokenizer"):
        raise ValueError("img_data needs a network that knows images; give model.img_temporal_dim_size: 1")
    if accumulated > 1:
        trainer["accumulate_grad_batches"] = accumulated
    data["masks"] = _masks(settings, "mask")
    _note_clips_per_gpu(settings, data["global_batch_size"], nodes * devices)
    image_masks = _masks(settings, "img_mask")
    if image_masks:
        data["image_masks"] = image_masks
        if not accumulated:
            settings.note("img_mask", "no effect without img_data, there too")
    if not data["masks"]:
        raise ValueError("this YAML has no mask: give it a list of masks")
    if is_v1:
        model["predictor"]["num_mask_tokens"] = len(data["masks"])
        model["mask_token_per_mask"] = True
    trainer["precision"] = _precision(settings)
    data["seed"] = settings.number("meta.seed", 0, int)
    settings.note("meta.seed", "draws differ from theirs all the same: every rank has its own here, and they go on")
    speed |= _checkpoints(settings, steps_per_epoch)
    if settings.flag("model.use_activation_checkpointing", False):
        speed["model.init_args.encoder.activation_checkpointing"] = True
        speed["model.init_args.predictor.activation_checkpointing"] = True
    _note_the_rest(settings)
    results = {
        "seed_everything": data["seed"],
        "model": {"class_path": "vjepa.training.JEPA", "init_args": {**model, **schedules}},
        "data": {"class_path": "vjepa.data.clips.data_module.ClipDataModule", "init_args": data},
        "trainer": {"max_steps": steps, **trainer},
    }
    family = "V-JEPA 2.1" if is_v2_1 else "V-JEPA 1" if is_v1 else "V-JEPA 2"
    return ImportedRecipe(results, speed, settings.notes, family, nodes, devices)


def _checked(upstream: Any) -> Mapping[str, Any]:
    """The YAML's content, where it is a pretraining of V-JEPA."""
    if not isinstance(upstream, Mapping):
        raise ValueError("this YAML is no mapping of keys to values, so it is no recipe of the released code")
    model = upstream.get("model")
    if isinstance(model, Mapping) and "class_path" in model:
        raise ValueError("this is a recipe of ours already: `vjepa fit -c` takes it as it is")
    app = upstream.get("app")
    if app in APPS:
        for section in ("data", "optimization", "model"):
            if not isinstance(upstream.get(section), Mapping):
                raise ValueError(f"this YAML has no section '{section}', so it is no recipe of the released code")
        return upstream
    known = f"only pretraining and cooldown can be imported ({', '.join(f'app: {name}' for name in APPS)})"
    if app is not None:
        raise ValueError(f"app '{app}' is not known; {known}")
    if "eval_name" in upstream:
        raise ValueError(
            f"this YAML is an evaluation ({upstream['eval_name']}), for which there is `vjepa probe`; {known}"
        )
    raise ValueError(f"this YAML has no key 'app', so it is no recipe of the released code; {known}")


def _is_v1(upstream: Mapping[str, Any]) -> bool:
    """V-JEPA 1 has the app of V-JEPA 2, but other keys for the frames of a clip."""
    return upstream["app"] == "vjepa" and "dataset_fpcs" not in upstream["data"]


def _model(settings: Settings, is_v1: bool, is_v2_1: bool) -> dict[str, Any]:
    given = str(settings.take("model.model_name", ""))
    name = given.removesuffix("_rope")
    if name not in NETWORKS:
        raise ValueError(f"model.model_name '{name}' is not known{nearest(name, NETWORKS)} ({', '.join(NETWORKS)})")
    size, heads = NETWORKS[name]
    if size == "gigantic":
        settings.note("model.model_name", "before 2026 the released code gave this network an MLP of 4 times its width")
    patch, tubelet = settings.number("data.patch_size", 16, int), settings.number("data.tubelet_size", 2, int)
    encoder: dict[str, Any] = {"size": size}
    if heads:
        encoder["num_heads"] = heads
    if (tubelet, patch) != (2, 16):
        encoder["tubelet"] = [tubelet, patch, patch]
    predictor: dict[str, Any] = {
        "embed_dim": settings.number("model.pred_embed_dim", 384, int),
        "depth": settings.number("model.pred_depth", 12, int),
        "num_heads": settings.number("model.pred_num_heads", heads or SIZES[size].num_heads, int),
    }
    both: dict[str, Any] = {"position": _position(settings, is_v2_1, by_name=given != name)}
    if settings.flag("model.interpolate_rope", False):
        if both["position"] == "rotary":
            both["position_grid"] = [1, 256 // patch, 256 // patch]
        else:
            settings.note("model.interpolate_rope", "no effect without use_rope, there too")
    if settings.flag("model.modality_embedding", False):
        both["modality_embeddings"] = True
    if not settings.flag("model.zero_init_mask_tokens", True):
        predictor["zero_init_mask_tokens"] = False
    _add_mlp(settings, encoder, predictor, SIZES[size].mlp_ratio)
    model: dict[str, Any] = {"encoder": {**encoder, **both}, "predictor": {**predictor, **both}}
    image_frames = settings.number("model.img_temporal_dim_size", None, int)
    if image_frames == 1:
        model["encoder"]["image_tokenizer"] = True
    elif image_frames is not None:
        settings.note("model.img_temporal_dim_size", "images of one frame only here: no image tokenizer is made")
    if is_v2_1:
        _add_levels(settings, model, size, name)
    elif not is_v1:
        settings.note(
            "mask tokens",
            "the released code makes one per mask and dataset and trains only the first; here there is one",
        )
    context = _context_prediction(settings, is_v2_1)
    if context is not None:
        model["predictor"]["predict_context"] = True
    exponent = settings.number("loss.loss_exp", 1.0)
    distance = {} if exponent == 1.0 else {"exponent": exponent}
    if context is not None or distance:
        model["terms"] = {"prediction": _term("LatentPrediction", distance)}
    if context is not None:
        model["terms"]["context"] = _term("ContextPrediction", {**context, **distance})
    return model


def _term(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"class_path": f"vjepa.objectives.{name}", **({"init_args": arguments} if arguments else {})}


def _position(settings: Settings, is_v2_1: bool, by_name: bool) -> str:
    uniform = settings.flag("model.uniform_power", False)
    if settings.flag("model.use_rope", by_name):
        settings.note_given("no effect beside use_rope, there too", "model.uniform_power")
        return "rotary" if is_v2_1 else "rotary_tiled"
    return "sincos_uniform" if uniform else "sincos"


def _add_mlp(settings: Settings, encoder: dict[str, Any], predictor: dict[str, Any], ratio: float) -> None:
    wide = settings.flag("model.wide_silu", True)
    networks = (("model.use_silu", encoder, ratio), ("model.use_pred_silu", predictor, 4.0))
    gated = [each for each in networks if settings.flag(each[0], False)]
    for key, network, network_ratio in gated:
        network["mlp"] = "swiglu"
        if not wide:
            network["mlp_ratio"] = 1.5 * network_ratio  # false is the wider one there
        settings.note(key, "the initial scale divides the output layer of a gated MLP here, a gate there")
    if not gated:
        settings.note_given("no effect without use_silu, there too", "model.wide_silu")


def _add_levels(settings: Settings, model: dict[str, Any], size: EncoderSize, name: str) -> None:
    levels = settings.number("model.levels_predictor", 4, int)
    outputs = settings.number("model.n_output_distillation", levels, int)
    depth = SIZES[size].depth
    if depth not in OUTPUT_LEVELS:
        raise ValueError(f"V-JEPA 2.1 has no {name}: the released code knows no output levels of {depth} blocks")
    if levels not in (1, 4) or outputs != levels:
        raise ValueError(
            f"model.levels_predictor ({levels}) and n_output_distillation ({outputs}) must be equal: 4, or 1 (the last)"
        )
    model["encoder"]["output_levels"] = list(OUTPUT_LEVELS[depth])
    if levels != 1:
        model["predictor"]["num_levels"] = levels


def _context_prediction(settings: Settings, is_v2_1: bool) -> dict[str, Any] | None:
    """Arguments of the term, or None without it."""
    predicts = settings.flag("loss.predict_all", is_v2_1)
    video_weight = settings.number("model.lambda_value_vid", 0.0)
    image_weight = settings.number("model.lambda_value_img", 0.0)
    by_distance = settings.flag("loss.weight_distance_loss", False)
    over_grid = settings.flag("loss.offset_context_loss", False)
    progressive = settings.flag("model.lambda_progressive", True)
    if not predicts:
        settings.note_given("no effect without predict_all, there too", *CONTEXT_KEYS)
        return None
    unit = 1.0
    if over_grid and by_distance:
        unit = max(1.0, settings.numbers("data.crop_size")[0] // settings.number("data.patch_size", 16) // 16)
    else:
        settings.note_given(
            "off, or without effect beside weight_distance_loss: false, there too", "loss.offset_context_loss"
        )
    if progressive:
        settings.note(
            "model.lambda_progressive",
            f"the context loss comes in between steps {RAMP[0]} and {RAMP[1]}, whatever the run's length, there too; "
            "a short run needs another terms.context.ramp",
        )
    return {
        "video_weight": video_weight,
        "image_weight": image_weight,
        "by_distance": by_distance,
        "ramp": RAMP if progressive else None,
        **({"distance_unit": unit} if unit != 1.0 else {}),
    }


def _optimization(settings: Settings) -> tuple[int, int, dict[str, Any], dict[str, Any]]:
    """Steps of the run and of an epoch, arguments of JEPA, arguments of the trainer."""
    epochs = settings.required("optimization.epochs", int)
    steps_per_epoch = settings.number("optimization.ipe", None, int)
    if steps_per_epoch is None:
        raise ValueError(
            "optimization.ipe is not given: an epoch is then as long as the data; give files over global batch"
        )
    scale = settings.number("optimization.ipe_scale", 1.0)
    steps, scheduled = epochs * steps_per_epoch, int(scale * epochs * steps_per_epoch)
    total = _total(scheduled, steps)
    decay, momentum = settings.required("optimization.weight_decay"), settings.ends("optimization.ema")
    schedules: dict[str, Any] = {
        "learning_rate": _learning_rate(settings, steps, scheduled, steps_per_epoch),
        "weight_decay": _from_to(decay, settings.number("optimization.final_weight_decay", decay), total),
        "momentum": {**_from_to(*momentum, total), "decay": "linear"},
    }
    if scale != 1.0:
        stretched = ", ".join(name for name, schedule in schedules.items() if "total_steps" in schedule)
        settings.note(
            "optimization.ipe_scale",
            f"schedules are made for {scheduled} steps, {scale:g} times the run's {steps}, and stop before their ends: "
            + (
                f"{stretched} have it as total_steps; without it they reach their ends"
                if stretched
                else "here no schedule changes after the warm-up, so nothing depends on it"
            ),
        )
    betas, eps = settings.pair("optimization.betas"), settings.number("optimization.eps", None)
    schedules |= {name: value for name, value in (("betas", betas), ("eps", eps)) if value is not None}
    trainer = {}
    clip = settings.number("optimization.clip_grad", None)
    if clip:
        trainer["gradient_clip_val"] = clip
        settings.note(
            "optimization.clip_grad", "clips encoder and predictor each, after the warm-up; here both together, always"
        )
    _add_start(settings, schedules)
    return steps, steps_per_epoch, schedules, trainer


def _add_start(settings: Settings, schedules: dict[str, Any]) -> None:
    start, key = settings.take("optimization.anneal_ckpt"), "optimization.anneal_ckpt"
    is_anneal = settings.flag("optimization.is_anneal", False)
    if is_anneal and start is not None:
        schedules["initial_weights"] = str(start)
        settings.note(key, "encoder, predictor and target encoder are taken; Adam's moments too there, not here")
    elif start is not None:
        settings.note(key, "no effect without is_anneal, there too; --model.initial_weights here")
    elif is_anneal:
        settings.note("optimization.is_anneal", "no anneal_ckpt is given: pass --model.initial_weights")


def _learning_rate(settings: Settings, steps: int, scheduled: int, steps_per_epoch: int) -> dict[str, Any]:
    peak = settings.required("optimization.lr")
    start = settings.number("optimization.start_lr", peak)
    end = settings.number("optimization.final_lr", 0.0)
    warmup = int(settings.number("optimization.warmup", 0) * steps_per_epoch)
    if settings.flag("optimization.is_anneal", False):
        settings.note_given(
            "no effect beside is_anneal, there too: a straight line from lr to final_lr",
            "optimization.start_lr",
            "optimization.warmup",
        )
        return {"peak": peak, "end": end, "warmup_steps": 0, "decay": "linear", **_total(scheduled, steps)}
    schedule: dict[str, Any] = {"start": start, "peak": peak, "end": end, "warmup_steps": warmup, "decay": "cosine"}
    if warmup > steps:
        last = start + steps / warmup * (peak - start)
        settings.note(
            "optimization.warmup",
            f"{warmup} steps are more than the run's {steps}: it ends in the warm-up, at {last:.4g}",
        )
        return {**schedule, "total_steps": max(scheduled, warmup)}
    return schedule if end == peak else {**schedule, **_total(scheduled, steps)}


def _from_to(first: float, last: float, total: dict[str, int]) -> dict[str, Any]:
    return {"peak": first} if first == last else {"peak": first, "end": last, **total}


def _total(scheduled: int, steps: int) -> dict[str, int]:
    return {} if scheduled == steps else {"total_steps": scheduled}


def _data(settings: Settings, num_gpus: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arguments of the data module that change results, and those that only change speed."""
    clips = settings.number("data.num_clips", 1, int)
    per_gpu = settings.required("data.batch_size", int)
    batch = per_gpu * clips * num_gpus
    settings.note(
        "data.batch_size",
        f"of one GPU there, {per_gpu} times {num_gpus} GPUs; global here, {batch} on any number",
    )
    crop = settings.numbers("data.crop_size", int) or [224]
    if len(crop) > 2:
        raise ValueError(f"data.crop_size ({crop}) must be one number or two, height and width")
    lengths = settings.numbers("data.dataset_fpcs", int)
    num_frames = settings.number("data.num_frames", None, int)
    lengths = lengths or [num_frames if num_frames is not None else 16]
    data: dict[str, Any] = {"mixture": _sources(settings, "data", lengths), "num_frames": lengths[0]}
    data |= _rate(settings)
    data["crop_size"] = [crop[0], crop[-1]]
    if len(set(lengths)) > 1:
        settings.note(
            "data.dataset_fpcs",
            f"clips of {_listed(sorted(set(lengths)))} frames come in batches of their own; there one batch holds "
            "all, and each length has its own mask token",
        )
    given = {
        "clips_per_video": clips if clips > 1 else None,
        "crop_scale": settings.pair("data_aug.random_resize_scale"),
        "crop_aspect_ratio": settings.pair("data_aug.random_resize_aspect_ratio"),
        "rand_augment": "rand-m7-n4-mstd0.5-inc1" if settings.flag("data_aug.auto_augment", False) else None,
        "erase_probability": settings.number("data_aug.reprob", 0.0) or None,
    }
    data |= {name: value for name, value in given.items() if value is not None}
    data["global_batch_size"] = batch
    kind = str(settings.take("data.dataset_type", "VideoDataset"))
    if kind.lower() != "videodataset":
        settings.note("data.dataset_type", f"'{kind}' is not known: sources are lists or folders of files here")
    workers = settings.number("data.num_workers", None, int)
    return data, {} if workers is None else {"data.init_args.num_workers": workers}


def _rate(settings: Settings) -> dict[str, float]:
    """Exactly one of three ways to space a clip's frames."""
    given = {
        "fps": settings.number("data.fps", None),
        "frame_step": settings.number("data.sampling_rate", settings.number("data.frame_step", None)),
        "duration": settings.number("data.clip_duration", settings.number("data.duration", None)),
    }
    rates = {name: value for name, value in given.items() if value is not None}
    if "duration" in rates and "frame_step" in rates:
        settings.note("data.sampling_rate", "no effect beside clip_duration, there too")
        del rates["frame_step"]
    if len(rates) != 1:
        raise ValueError(
            f"this YAML gives {_listed(rates) or 'no rate of frames'}; give exactly one of data.fps, "
            "data.sampling_rate and data.clip_duration"
        )
    if "fps" in rates:
        settings.note("data.fps", "exact here; there the file's rate is rounded up and the stride down")
    return rates


def _sources(settings: Settings, section: str, lengths: Sequence[int]) -> list[dict[str, Any]]:
    """Their lists of files as sources of a mixture, each with its number of frames where lists differ in it."""
    key, weights_key = f"{section}.datasets", f"{section}.datasets_weights"
    paths, weights = settings.texts(key), settings.numbers(weights_key)
    if not paths:
        raise ValueError(f"{key} is empty: give at least one list of files")
    if weights and len(weights) != len(paths):
        raise ValueError(f"{weights_key} has {len(weights)} values for {len(paths)} {key}; give one for each")
    if len(lengths) not in (1, len(paths)):
        raise ValueError(f"{section}.dataset_fpcs has {len(lengths)} values for {len(paths)} {key}; give one for each")
    settings.note(
        key,
        "the paths are theirs: lists of `path label` are read as they are (not .npy), others made by `vjepa manifest`; "
        "each source's rows come once per pass here, there they are drawn with replacement",
    )
    if weights and len(paths) == 1:
        settings.note(weights_key, "no effect on one list, there too")
    if not weights and len(paths) > 1:
        settings.note(
            weights_key,
            "none: there each file counts alike, here each source; give weights in proportion to their files",
        )
    sources, names = [], set()
    for i, path in enumerate(paths):
        weight = weights[i] if weights else 1.0
        if not weight > 0:
            settings.note(weights_key, f"{path} has the weight {weight:g} and is left out")
            continue
        source: dict[str, Any] = {"manifest": path, "weight": weight}
        name = PurePosixPath(path).stem
        if name in names:
            name = f"{name}_{i}"
            source["name"] = name
        names.add(name)
        if len(set(lengths)) > 1 and lengths[i] != lengths[0]:
            source["num_frames"] = lengths[i]
        sources.append(source)
    return sources


def _add_images(settings: Settings, data: dict[str, Any], num_gpus: int) -> int:
    """Add sources of images to those of videos; returns the batches per optimizer step, 0 without images."""
    batch = settings.number("img_data.batch_size", None, int)
    ratio: float = settings.number("img_data.rank_ratio", 0.0)
    lengths = settings.numbers("img_data.dataset_fpcs", int) or [1]
    crop = settings.numbers("img_data.crop_size", int)
    kind = settings.take("img_data.dataset_type")
    if not any(key.startswith("img_data.") for key in settings.values):
        settings.asked |= {"img_data.datasets", "img_data.datasets_weights"}
        return 0
    if not 0 < ratio < 1:
        raise ValueError(
            f"img_data.rank_ratio ({ratio:g}) must be between 0 and 1: the fraction of GPUs that train on images"
        )
    sources = _sources(settings, "img_data", lengths)
    names = {_source_name(source) for source in data["mixture"]}
    for source in sources:
        if _source_name(source) in names:
            source["name"] = f"{_source_name(source)}_images"
    if lengths != [1] * len(lengths):
        settings.note("img_data.dataset_fpcs", f"{_listed(sorted(set(lengths)))} frames: images have one here")
    sources = [{**source, "num_frames": 1} for source in sources]
    data["mixture"] = [*_with_total_weight(data["mixture"], 1 - ratio), *_with_total_weight(sources, ratio)]
    num_image_gpus = int(num_gpus * ratio)
    accumulated = max(1, round(1 / (1 - ratio)))
    videos, size = data["global_batch_size"], data["global_batch_size"] * accumulated
    settings.note(
        "img_data.rank_ratio",
        f"a fraction of {ratio:g} of the GPUs sees only images there; here that fraction of the batches is of images, "
        f"and a step takes {accumulated} batches, so that images weigh as much",
    )
    settings.note(
        "img_data.batch_size",
        f"a step has {videos} videos and {batch or 0} times {num_image_gpus} images there; here all batches are of "
        f"one size, on average {size * (1 - ratio):.0f} videos and {size * ratio:.0f} images a step",
    )
    if crop and [crop[0], crop[-1]] != data["crop_size"]:
        settings.note(
            "img_data.crop_size", f"{crop[0]}: images have the videos' crop size here, {data['crop_size'][0]}"
        )
    if kind is not None and str(kind).lower() != "videodataset":
        settings.note("img_data.dataset_type", f"'{kind}': sources are lists or folders of files here")
    return accumulated


def _source_name(source: Mapping[str, Any]) -> str:
    return source.get("name") or PurePosixPath(source["manifest"]).stem


def _with_total_weight(sources: list[dict[str, Any]], total: float) -> list[dict[str, Any]]:
    given = sum(source["weight"] for source in sources)
    return [{**source, "weight": round(source["weight"] * total / given, 6)} for source in sources]


def _masks(settings: Settings, section: str) -> list[dict[str, Any]]:
    number = len({key.partition(".")[0] for key in settings.values if key.startswith(f"{section}[")})
    return [_mask(settings, f"{section}[{i}]") for i in range(number)]


def _mask(settings: Settings, section: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {"num_blocks": settings.number(f"{section}.num_blocks", 1, int)}
    for key in ("spatial_scale", "temporal_scale", "aspect_ratio"):
        pair = settings.pair(f"{section}.{key}")
        if pair:
            arguments[key] = pair
    arguments["max_temporal_keep"] = settings.number(f"{section}.max_temporal_keep", 1.0)
    max_keep = settings.number(f"{section}.max_keep", None, int)
    if max_keep is not None:
        arguments["max_context_tokens"] = max_keep
    for key in ("full_complement", "pred_full_complement", "inv_block"):
        if settings.flag(f"{section}.{key}", False):
            settings.note(f"{section}.{key}", "not offered: this recipe has the mask without it")
    return {"class_path": "vjepa.masking.ReferenceMultiBlockTubes", "init_args": arguments}


def _note_clips_per_gpu(settings: Settings, videos: int, num_gpus: int) -> None:
    """The released masks depend on the number of clips of a GPU."""
    num_video_gpus = num_gpus - int(num_gpus * settings.number("img_data.rank_ratio", 0.0))
    settings.note(
        "mask",
        f"each is cut to the shortest of its GPU's clips, so {videos // max(1, num_video_gpus)} clips per GPU belong "
        "to this recipe; MultiBlockTubes in the place of ReferenceMultiBlockTubes needs no such number",
    )


def _precision(settings: Settings) -> str:
    given = str(settings.take("meta.dtype", "float32")).lower()
    if given not in PRECISIONS:
        raise ValueError(f"meta.dtype '{given}' is not known{nearest(given, PRECISIONS)} ({', '.join(PRECISIONS)})")
    precision = PRECISIONS[given]
    if given != "float32":
        settings.note("meta.dtype", f"{precision} here; there a gradient scaler is on with any dtype")
    return precision


def _checkpoints(settings: Settings, steps_per_epoch: int) -> dict[str, Any]:
    epochs = settings.number("meta.save_every_freq", -1, int)
    if epochs <= 0:
        return {"checkpoint.every_n_steps": steps_per_epoch}
    kept = epochs * steps_per_epoch
    settings.note("meta.save_every_freq", f"epochs there; here steps: one checkpoint in {kept} is kept")
    return {"checkpoint.every_n_steps": steps_per_epoch, "checkpoint.keep_every_n_steps": kept}


def _note_the_rest(settings: Settings) -> None:
    """Notes on keys without effect, on those that are not offered, and on unknown ones."""
    for key, value in settings.values.items():
        if key not in settings.asked:
            settings.note(key, NOTES.get(key) or _not_offered(key, value) or _unknown(settings, key))


def _not_offered(key: str, value: Any) -> str | None:
    if key not in NOT_OFFERED:
        return None
    harmless, change = NOT_OFFERED[key]
    shown = json.dumps(value, default=str)
    if value is None or value == harmless:
        return f"{shown}, as here ({change}: not offered)"
    return f"{shown} is not offered ({change}): this recipe goes without"


def _unknown(settings: Settings, key: str) -> str:
    if key.startswith("loss.") and "gram" in key:
        return "not used there"
    # Names are compared within the section, whose name would make all its keys alike.
    section, dot, name = key.rpartition(".")
    known = (each.rpartition(".") for each in {*settings.asked, *NOTES, *NOT_OFFERED})
    near = nearest(name, [last for start, _, last in known if start == section])
    return f"unknown key, left out{near.replace(chr(39), f'{chr(39)}{section}{dot}', 1)}"


def _listed(values: Iterable[Any]) -> str:
    return " and ".join(str(value) for value in values)
