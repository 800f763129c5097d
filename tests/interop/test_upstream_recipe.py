"""Training YAML of the released code as our recipe: nothing is lost, and schedules have the released values."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest

from vjepa.interop.upstream.recipe import ImportedRecipe, import_recipe
from vjepa.training import Schedule

MASK = {
    "aspect_ratio": [0.75, 1.5],
    "full_complement": False,
    "pred_full_complement": False,
    "inv_block": False,
    "max_keep": None,
    "max_temporal_keep": 1.0,
    "num_blocks": 8,
    "spatial_scale": [0.15, 0.15],
    "temporal_scale": [1.0, 1.0],
}
OTHER_MASK = MASK | {"num_blocks": 2, "spatial_scale": [0.7, 0.7]}
AUGMENTATION = {
    "auto_augment": False,
    "motion_shift": False,
    "random_resize_aspect_ratio": [0.75, 1.35],
    "random_resize_scale": [0.3, 1.0],
    "reprob": 0.0,
}
PLAIN_MODEL = {
    "model_name": "vit_large",
    "pred_depth": 12,
    "pred_embed_dim": 384,
    "uniform_power": True,
    "use_mask_tokens": True,
    "zero_init_mask_tokens": True,
}
V2: dict[str, Any] = {
    "app": "vjepa",
    "nodes": 16,
    "tasks_per_node": 8,
    "cpus_per_task": 16,
    "mem_per_gpu": "220G",
    "folder": "/somewhere",
    "data": {
        "dataset_type": "VideoDataset",
        "datasets": ["/lists/k710.csv", "/lists/ssv2.csv", "/lists/howto100m.csv"],
        "datasets_weights": [0.335, 0.1, 0.565],
        "batch_size": 24,
        "crop_size": 256,
        "patch_size": 16,
        "dataset_fpcs": [16, 16, 16],
        "tubelet_size": 2,
        "fps": 4,
        "num_workers": 8,
        "persistent_workers": True,
        "pin_mem": True,
    },
    "data_aug": AUGMENTATION,
    "loss": {"loss_exp": 1.0},
    "mask": [MASK, OTHER_MASK],
    "meta": {
        "dtype": "bfloat16",
        "eval_freq": 100,
        "load_checkpoint": True,
        "read_checkpoint": None,
        "save_every_freq": 50,
        "seed": 239,
        "use_sdpa": True,
        "skip_batches": -1,
        "sync_gc": False,
    },
    "model": PLAIN_MODEL
    | {
        "pred_num_heads": 12,
        "use_activation_checkpointing": True,
        "use_rope": True,
        "use_silu": False,
        "use_pred_silu": False,
        "wide_silu": False,
        "compile_model": False,
    },
    "optimization": {
        "ema": [0.99925, 0.99925],
        "epochs": 800,
        "ipe": 300,
        "ipe_scale": 1.25,
        "lr": 0.000525,
        "start_lr": 0.0001,
        "final_lr": 0.000525,
        "warmup": 40,
        "weight_decay": 0.04,
        "final_weight_decay": 0.04,
        "betas": [0.9, 0.999],
        "eps": "1e-8",  # what YAML takes for a text
    },
}


def changed(base: dict[str, Any], **sections: Any) -> dict[str, Any]:
    """A copy in which some keys of some sections are others; a section of None is left out."""
    result = copy.deepcopy(base)
    for name, values in sections.items():
        if values is None:
            del result[name]
        elif isinstance(values, dict):
            result[name] = result.get(name, {}) | values
        else:
            result[name] = values
    return result


COOLDOWN = changed(
    V2,
    nodes=32,
    data={"batch_size": 12, "dataset_fpcs": [64, 64, 64]},
    optimization={
        "epochs": 40,
        "final_lr": 1e-6,
        "is_anneal": True,
        "anneal_ckpt": "/somewhere/latest.pt",
        "resume_anneal": True,
    },
)
V2_1 = changed(
    V2,
    app="vjepa_2_1",
    img_data={
        "batch_size": 72,
        "crop_size": 256,
        "dataset_fpcs": [1],
        "datasets": ["/lists/imagenet.csv"],
        "datasets_weights": [1.0],
        "dataset_type": "VideoDataset",
        "rank_ratio": 0.5,
        "num_workers": 8,
    },
    img_mask=[MASK | {"num_blocks": 10}],
    loss={
        "predict_all": True,
        "weight_distance_loss": True,
        "offset_context_loss": False,
        "shift_by_n": 0,
        "reg_coeff": 0.0,
        "gram_weight": 1.0,
    },
    model={
        "pred_depth": 24,
        "img_temporal_dim_size": 1,
        "interpolate_rope": True,
        "modality_embedding": True,
        "lambda_value_img": 0.5,
        "lambda_value_vid": 0.5,
        "lambda_progressive": True,
        "levels_predictor": 4,
        "normalize_predictor": False,
        "has_cls_first": False,
        "n_registers": 0,
        "n_registers_predictor": 0,
        "init_type": "default",
        "is_causal": False,
        "pred_is_causal": False,
        "local_window": [-1, -1, -1],
        "pred_local_window": [-1, -1, -1],
        "vit_conv": False,
    },
    optimization={
        "epochs": 1000,
        "lr": 0.0006,
        "final_lr": 0.0006,
        "use_radamw": False,
        "loss_reg_std_mult": None,
        "loss_reg_num_tracking_steps": 300,
        "loss_reg_min_epoch": 50,
    },
)
COOLDOWN_2_1 = changed(
    V2_1,
    data={"dataset_fpcs": [64, 64, 64]},
    loss={"weight_distance_loss": False},
    model={"lambda_progressive": False},
    optimization={"epochs": 40, "final_lr": 1e-6, "is_anneal": True, "anneal_ckpt": "/somewhere/latest.pth.tar"},
)
V1 = {
    "app": "vjepa",
    "nodes": 16,
    "tasks_per_node": 8,
    "data": {
        "dataset_type": "VideoDataset",
        "datasets": ["/lists/k710.csv", "/lists/ssv2.csv", "/lists/howto100m.csv"],
        "decode_one_clip": True,
        "batch_size": 24,
        "num_clips": 1,
        "num_frames": 16,
        "tubelet_size": 2,
        "sampling_rate": 4,
        "crop_size": 224,
        "patch_size": 16,
        "pin_mem": True,
        "num_workers": 12,
        "filter_short_videos": False,
        "clip_duration": None,
    },
    "data_aug": AUGMENTATION,
    "logging": {"folder": "/somewhere", "write_tag": "jepa"},
    "loss": {"loss_exp": 1.0, "reg_coeff": 0.0},
    "mask": [MASK, OTHER_MASK],
    "meta": {
        "load_checkpoint": False,
        "read_checkpoint": None,
        "seed": 234,
        "eval_freq": 100,
        "use_sdpa": True,
        "dtype": "bfloat16",
    },
    "model": PLAIN_MODEL,
    "optimization": {
        "ipe": 300,
        "ipe_scale": 1.25,
        "clip_grad": 10.0,
        "weight_decay": 0.04,
        "final_weight_decay": 0.4,
        "epochs": 300,
        "warmup": 40,
        "start_lr": 0.0002,
        "lr": 0.000625,
        "final_lr": 1e-6,
        "ema": [0.998, 1.0],
    },
}
ALL = {"V2": V2, "cooldown": COOLDOWN, "V2.1": V2_1, "cooldown of V2.1": COOLDOWN_2_1, "V1": V1}


def of_model(imported: ImportedRecipe) -> dict[str, Any]:
    return imported.results["model"]["init_args"]


def of_data(imported: ImportedRecipe) -> dict[str, Any]:
    return imported.results["data"]["init_args"]


def notes_on(imported: ImportedRecipe, key: str) -> str:
    return " ".join(note.text for note in imported.notes if note.key == key)


def places(values: Any, path: tuple = ()) -> Iterator[tuple]:
    """Where each value of a YAML stands."""
    of_keys = values.items() if isinstance(values, dict) else enumerate(values)
    for key, value in of_keys:
        if isinstance(value, dict) or (isinstance(value, list) and value and isinstance(value[0], dict)):
            yield from places(value, (*path, key))
        else:
            yield (*path, key)


def name_of(path: tuple) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, list):
        return [another(each) for each in value]
    if isinstance(value, str):
        return value + "x"
    return 1 if value is None else 2 * value + 1


@pytest.mark.parametrize("upstream", ALL.values(), ids=ALL)
def test_no_key_is_dropped_in_silence(upstream):
    # A key has a note, or another value of it makes another recipe, other notes or an error.
    first = import_recipe(upstream)
    noted = {note.key for note in first.notes}
    silent = []
    for path in places(upstream):
        if name_of(path) in noted:
            continue
        other = copy.deepcopy(upstream)
        place = other
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = another(place[path[-1]])
        try:
            if import_recipe(other) == first:
                silent.append(name_of(path))
        except ValueError:
            continue
    assert not silent


@pytest.mark.parametrize("upstream", ALL.values(), ids=ALL)
def test_known_keys_are_not_called_unknown(upstream):
    assert not [str(note) for note in import_recipe(upstream).notes if "unknown" in note.text]


@pytest.mark.parametrize(
    ("upstream", "steps", "expected"),
    [
        (V2, 240_000, {1: 1.0003541667e-4, 6000: 3.125e-4, 12_000: 5.25e-4, 240_000: 5.25e-4}),
        (COOLDOWN, 12_000, {1: 5.2496506667e-4, 6000: 3.154e-4, 12_000: 1.058e-4}),
        (COOLDOWN_2_1, 12_000, {1: 5.9996006667e-4, 6000: 3.604e-4, 12_000: 1.208e-4}),
        (V1, 90_000, {1: 2.0003541667e-4, 6000: 4.125e-4, 12_000: 6.25e-4, 50_000: 4.2957577e-4, 90_000: 7.5042224e-5}),
        (changed(V2, optimization={"epochs": 10}), 3000, {3000: 2.0625e-4}),
    ],
    ids=["V2", "cooldown", "cooldown of V2.1", "V1", "ends in the warm-up"],
)
def test_learning_rates_are_those_of_the_released_code(upstream, steps, expected):
    imported = import_recipe(upstream)
    assert imported.results["trainer"]["max_steps"] == steps
    schedule = Schedule(**of_model(imported)["learning_rate"])
    assert {step: schedule.value(step, steps) for step in expected} == pytest.approx(expected, rel=1e-7)


def test_weight_decay_and_momentum_are_those_of_the_released_code():
    model = of_model(import_recipe(V1))
    decay = {1: 0.0400000001, 45_000: 0.1643769, 90_000: 0.3656231}
    schedule = Schedule(**model["weight_decay"])
    assert {step: schedule.value(step, 90_000) for step in decay} == pytest.approx(decay, rel=1e-6)
    momentum = {0: 0.998, 45_000: 0.9988, 89_999: 0.99959998}
    schedule = Schedule(**model["momentum"])
    assert {step: schedule.value(step, 89_999) for step in momentum} == pytest.approx(momentum, rel=1e-8)


def test_a_schedule_that_outlasts_its_run_is_noted():
    text = notes_on(import_recipe(COOLDOWN), "optimization.ipe_scale")
    assert "15000 steps, 1.25 times the run's 12000" in text
    assert "learning_rate" in text
    assert "nothing depends on it" in notes_on(import_recipe(V2), "optimization.ipe_scale")


def test_the_batch_is_that_of_all_gpus_and_the_masks_ask_for_clips_per_gpu():
    imported = import_recipe(V2)
    assert of_data(imported)["global_batch_size"] == 3072
    assert (imported.nodes, imported.devices) == (16, 8)
    assert "24 clips per GPU" in notes_on(imported, "mask")
    assert "48 clips per GPU" in notes_on(import_recipe(V2_1), "mask")  # half of the GPUs see images


def test_masks_are_the_reference_ones():
    masks = of_data(import_recipe(V2))["masks"]
    assert [mask["class_path"] for mask in masks] == 2 * ["vjepa.masking.ReferenceMultiBlockTubes"]
    assert masks[1]["init_args"]["num_blocks"] == 2
    assert masks[1]["init_args"]["spatial_scale"] == [0.7, 0.7]
    imported = import_recipe(changed(V2, mask=[MASK | {"max_keep": 100, "full_complement": True}]))
    assert of_data(imported)["masks"][0]["init_args"]["max_context_tokens"] == 100
    assert "not offered" in notes_on(imported, "mask[0].full_complement")


def test_each_version_has_its_network():
    v1, v2, v2_1 = (of_model(import_recipe(upstream)) for upstream in (V1, V2, V2_1))
    assert [model["encoder"]["position"] for model in (v1, v2, v2_1)] == ["sincos_uniform", "rotary_tiled", "rotary"]
    assert [model["predictor"]["num_heads"] for model in (v1, v2, v2_1)] == [16, 12, 12]
    assert (v1["predictor"]["num_mask_tokens"], v1["mask_token_per_mask"]) == (2, True)
    assert "num_mask_tokens" not in v2["predictor"]
    assert v2_1["encoder"]["output_levels"] == [5, 11, 17, 23]
    assert v2_1["encoder"]["position_grid"] == [1, 16, 16]
    assert v2_1["predictor"]["num_levels"] == 4
    arguments = {"video_weight": 0.5, "image_weight": 0.5, "by_distance": True, "ramp": [15_000, 30_000]}
    assert v2_1["terms"] == {
        "prediction": {"class_path": "vjepa.objectives.LatentPrediction"},
        "context": {"class_path": "vjepa.objectives.ContextPrediction", "init_args": arguments},
    }
    assert "terms" not in v2
    terms = of_model(import_recipe(changed(V2, loss={"loss_exp": 2.0})))["terms"]
    assert terms == {"prediction": {"class_path": "vjepa.objectives.LatentPrediction", "init_args": {"exponent": 2.0}}}


def test_the_context_loss_of_a_cooldown_is_there_at_once():
    context = of_model(import_recipe(COOLDOWN_2_1))["terms"]["context"]["init_args"]
    assert (context["ramp"], context["by_distance"]) == (None, False)


def test_images_are_sources_of_one_frame_that_weigh_as_their_gpus_did():
    imported = import_recipe(V2_1)
    sources = of_data(imported)["mixture"]
    assert sources[-1] == {"manifest": "/lists/imagenet.csv", "weight": 0.5, "num_frames": 1}
    assert sum(source["weight"] for source in sources[:-1]) == pytest.approx(0.5)
    assert imported.results["trainer"]["accumulate_grad_batches"] == 2
    assert "3072 videos and 72 times 64 images" in notes_on(imported, "img_data.batch_size")
    with pytest.raises(ValueError, match="img_data needs a network that knows images"):
        import_recipe(changed(V2_1, model={"img_temporal_dim_size": None}))


def test_clips_of_several_lengths_are_sources_of_their_own():
    imported = import_recipe(changed(V2, data={"dataset_fpcs": [16, 32, 16]}))
    data = of_data(imported)
    assert data["num_frames"] == 16
    assert [source.get("num_frames") for source in data["mixture"]] == [None, 32, None]
    assert "16 and 32 frames come in batches of their own" in notes_on(imported, "data.dataset_fpcs")


def test_sources_have_names_of_their_own_and_none_has_no_weight():
    lists = ["/a/train.csv", "/b/train.csv", "/c/none.csv"]
    imported = import_recipe(changed(V2, data={"datasets": lists, "datasets_weights": [1, 2, 0]}))
    assert of_data(imported)["mixture"] == [
        {"manifest": "/a/train.csv", "weight": 1.0},
        {"manifest": "/b/train.csv", "weight": 2.0, "name": "train_1"},
    ]
    assert "/c/none.csv has the weight 0" in notes_on(imported, "data.datasets_weights")


def test_what_cannot_be_had_is_said():
    imported = import_recipe(changed(V2_1, model={"n_registers": 4}, optimization={"use_radamw": True}))
    assert notes_on(imported, "model.n_registers").startswith("4 is not offered")
    assert notes_on(imported, "optimization.use_radamw").startswith("true is not offered")
    imported = import_recipe(changed(V2, model={"modality_embedding": True}, img_data={"batch_size": 3}))
    for key in ("model.modality_embedding", "img_data.batch_size"):
        assert "no effect in this app" in notes_on(imported, key)


def test_an_unknown_key_is_named_with_the_nearest_known_one():
    imported = import_recipe(changed(V2, data={"crop_sise": 3}, optimization={"surprise_me_entirely": 1}))
    assert notes_on(imported, "data.crop_sise") == "unknown key, left out; did you mean 'data.crop_size'?"
    assert notes_on(imported, "optimization.surprise_me_entirely") == "unknown key, left out"


@pytest.mark.parametrize(
    ("upstream", "sentence"),
    [
        ([1, 2], "no mapping of keys to values"),
        ({"app": "vjepa_droid"}, "app 'vjepa_droid' is not known; only pretraining and cooldown can be imported"),
        ({"eval_name": "video_classification_frozen"}, "is an evaluation .* `vjepa probe`"),
        ({"model": {"class_path": "vjepa.training.JEPA"}}, "a recipe of ours already"),
        ({"model": 3}, "has no key 'app'"),
        (changed(V2, data=None), "has no section 'data'"),
        (changed(V2, mask=None), "has no mask"),
        (changed(V2, model={"model_name": "vit_lage"}), "'vit_lage' is not known; did you mean 'vit_large'?"),
        (changed(V2_1, model={"model_name": "vit_huge"}), "V-JEPA 2.1 has no vit_huge"),
        (changed(V2, meta={"dtype": "bfloat61"}), "'bfloat61' is not known; did you mean 'bfloat16'?"),
        (changed(V2, optimization={"ipe": None}), "optimization.ipe is not given"),
        (changed(V2, optimization={"lr": None}), "says nothing of optimization.lr"),
        (changed(V2, optimization={"epochs": "many"}), r"optimization.epochs \(many\) must be a whole number"),
        (changed(V2, data={"fps": None}), "no rate of frames; give exactly one of data.fps"),
        (changed(V2, data={"dataset_fpcs": [16, 64]}), "has 2 values for 3 data.datasets"),
        (changed(V2, data={"datasets_weights": [1.0]}), "has 1 values for 3 data.datasets"),
        (changed(V2, model={"use_rope": "yes"}), r"model.use_rope \(yes\) must be true or false"),
        (changed(V2_1, img_data={"rank_ratio": 0}), r"rank_ratio \(0\) must be between 0 and 1"),
    ],
)
def test_what_is_no_recipe_of_a_pretraining_is_refused(upstream, sentence):
    with pytest.raises(ValueError, match=sentence):
        import_recipe(upstream)
