"""Released checkpoints: every layout is read whole or refused by name, and written so that it reads the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.interop.tiny_models import assert_equal, clips_of, full_model, part_of, tiny_model
from tests.parity.golden import GOLDEN, load
from vjepa.interop.networks import build
from vjepa.interop.portable import Family, Part, PortableModel
from vjepa.interop.reference_names import to_reference_names
from vjepa.interop.released import Hints, from_released, read_released, to_released, write_released
from vjepa.masking import TubeMask
from vjepa.models import AttentiveProbe, Predictor, VideoEncoder

pytestmark = pytest.mark.slow

FAMILIES: list[Family] = ["V-JEPA 1", "V-JEPA 2", "V-JEPA 2.1", "V-JEPA 2-AC"]


def saved(folder: Path, content: Any, name: str = "vitl.pt") -> Path:
    torch.save(content, folder / name)
    return folder / name


def counts(content: dict[str, Any]) -> dict[str, tuple[int, float]]:
    """(tensors, millions of parameters) of each network of a released checkpoint."""
    networks = {key: content[key] for key in ("encoder", "predictor")}
    return {
        key: (len(weights), sum(tensor.numel() for tensor in weights.values()) / 1e6)
        for key, weights in networks.items()
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_model_is_read_as_it_was_written(family: Family, tmp_path: Path):
    model = tiny_model(family)
    write_released(model, tmp_path / "model.pt")
    read, report = read_released(tmp_path / "model.pt")
    assert_equal(model, read)
    assert report.fits
    assert report.trained_mask_tokens == ([] if family == "V-JEPA 2-AC" else [0, 2])
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt"]


def test_a_distilled_model_keeps_the_width_of_its_teacher(tmp_path: Path):
    model = tiny_model("V-JEPA 2.1", distilled=True)
    write_released(model, tmp_path / "model.pt")
    read, _ = read_released(tmp_path / "model.pt")
    assert_equal(model, read)
    assert read.origin.encoder == "ema_encoder"
    assert read.predictor is not None
    assert (read.predictor.settings["num_levels"], read.predictor.settings["target_dim"]) == (1, 1664)


@pytest.mark.parametrize(
    ("size", "family", "distilled", "encoder", "predictor"),
    [
        ("tiny", "V-JEPA 2", False, (None, 5.63), None),
        ("small", "V-JEPA 2", False, (None, 21.88), None),
        ("base", "V-JEPA 2", False, (None, 86.24), None),
        ("large", "V-JEPA 2", False, (292, 303.9), (160, 22.09)),
        ("huge", "V-JEPA 2", False, (None, 631.6), None),
        ("giant", "V-JEPA 2", False, (None, 1012.2), None),
        ("gigantic", "V-JEPA 2", False, (None, 1843.9), None),
        ("base", "V-JEPA 2.1", True, (None, 86.83), (162, 22.87)),
        ("large", "V-JEPA 2.1", True, (302, 304.68), (162, 22.97)),
        ("large", "V-JEPA 2.1", False, (302, 304.68), None),
        ("giant", "V-JEPA 2.1", False, (None, 1013.3), (308, 55.4)),
        ("gigantic", "V-JEPA 2.1", False, (None, 1845.2), (308, 59.43)),
        ("giant", "V-JEPA 2-AC", False, (None, 1012.2), (300, 305.2)),
    ],
)
def test_every_size_has_the_released_counts_and_comes_back(size, family, distilled, encoder, predictor):
    model = full_model(size, family, distilled)
    content = to_released(model)
    assert_equal(model, from_released(content, Path("model.pt"), Hints())[0])
    found = counts(content)
    for network, expected in (("encoder", encoder), ("predictor", predictor)):
        if expected is not None:
            tensors, millions = expected
            assert tensors in (None, found[network][0])
            decimals = len(str(millions).partition(".")[2])
            assert round(found[network][1], decimals) == millions


def test_whatever_wraps_names_is_taken_off(tmp_path: Path):
    model = tiny_model()
    content = to_released(model)
    plain = {name.removeprefix("module.backbone."): tensor for name, tensor in content["encoder"].items()}
    for prefix in ("", "module.", "backbone.", "module.backbone.", "module.backbone._orig_mod."):
        wrapped = {f"{prefix}{name}": tensor for name, tensor in plain.items()}
        read, _ = from_released({"target_encoder": wrapped}, Path("vitl.pt"), Hints())
        assert_equal(replace(model, predictor=None), read)
    bare, _ = read_released(saved(tmp_path, plain))
    assert_equal(replace(model, predictor=None), bare)


def test_optimizer_scaler_and_the_rest_are_left_out_by_name(tmp_path: Path):
    content = to_released(tiny_model())
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(3))])
    content |= {"opt": optimizer.state_dict(), "scaler": {"scale": 65536.0}, "loss": 0.5, "lr": 1e-4, "world_size": 8}
    read, report = read_released(saved(tmp_path, content))
    assert_equal(tiny_model(), read)
    assert {"opt", "scaler", "loss", "lr", "world_size", "epoch", "encoder"} == set(report.dropped)


def test_the_moving_average_is_taken_unless_another_is_asked_for(tmp_path: Path):
    content = to_released(tiny_model())
    content["ema_encoder"] = {name: tensor + 1 for name, tensor in content["encoder"].items()}
    content["target_encoder"] = {name: tensor + 2 for name, tensor in content["encoder"].items()}
    path = saved(tmp_path, content)
    for which, added in ((None, 1), ("target_encoder", 2), ("target", 2), ("encoder", 0), ("context", 0)):
        read, _ = read_released(path, Hints(which=which))
        name = "norm.weight"
        assert read.encoder is not None
        torch.testing.assert_close(
            read.encoder.weights[name], content["encoder"][f"module.backbone.{name}"] + added, rtol=0, atol=0
        )
    with pytest.raises(ValueError, match=r"has no encoder 'teacher'; it has ema_encoder, target_encoder, encoder"):
        read_released(path, Hints(which="teacher"))


@torch.no_grad()
def test_golden_weights_of_v2_1_compute_the_golden_outputs():
    case = load(GOLDEN / "vjepa21.safetensors")
    settings, tensors = case.settings, case.tensors
    content = {
        key: {
            f"module.backbone.{name.removeprefix(start)}": each
            for name, each in tensors.items()
            if name.startswith(start)
        }
        for key, start in (("target_encoder", "encoder."), ("predictor", "predictor."))
    }
    hints = Hints(num_heads=settings["num_heads"], predictor_num_heads=settings["predictor_heads"])
    model, _ = from_released(content, Path("a.pt"), hints)
    assert model.family == "V-JEPA 2.1" and model.encoder is not None and model.predictor is not None
    encoder, predictor = build(VideoEncoder, model.encoder, "a.pt"), build(Predictor, model.predictor, "a.pt")
    close = {"atol": 1e-5, "rtol": 1e-5}
    torch.testing.assert_close(encoder(tensors["image"]), tensors["image_output"], **close)
    torch.testing.assert_close(encoder.forward_outputs(tensors["clip"]), tensors["clip_hierarchical_output"], **close)
    mask = TubeMask(tensors["context_masks.0"], tensors["target_masks.0"])
    context = encoder.forward_outputs(tensors["clip"], mask.context_ids)
    hidden, visible = predictor.forward_with_context(context, mask, encoder.grid_of(tensors["clip"]))
    torch.testing.assert_close(hidden, tensors["predicted_targets.0"], **close)
    torch.testing.assert_close(visible, tensors["predicted_context.0"], **close)


def test_levels_of_an_unknown_depth_are_refused():
    content = to_released(tiny_model("V-JEPA 2.1"))
    weights = {name: each for name, each in content["encoder"].items() if ".blocks.11." not in name}
    with pytest.raises(ValueError, match="encoder of 11 blocks; its output levels are known for 12, 24, 40, 48"):
        from_released({"target_encoder": weights}, Path("a.pt"), Hints())


@torch.no_grad()
def test_golden_weights_of_v1_compute_the_golden_output():
    case = load(GOLDEN / "vjepa2_encoder_sincos.safetensors")
    weights = {name.removeprefix("weights."): tensor for name, tensor in case.tensors.items() if "weights." in name}
    assert "pos_embed" in weights  # the reference's own table: it must be found to be ours
    hints = Hints(num_heads=case.settings["num_heads"])
    model, report = from_released({"target_encoder": weights}, Path("v1.pth.tar"), hints)
    assert model.family == "V-JEPA 1"
    assert model.encoder is not None and "target_encoder.pos_embed (computed)" in report.dropped
    encoder = build(VideoEncoder, model.encoder, "v1.pth.tar")
    torch.testing.assert_close(encoder(case.tensors["clip"]), case.tensors["output"], atol=1e-5, rtol=1e-5)


def test_a_table_of_positions_that_is_not_ours_is_refused():
    content = to_released(tiny_model("V-JEPA 1"))
    for key, name in (("encoder", "pos_embed"), ("predictor", "predictor_pos_embed")):
        learned = dict(content[key])
        learned[f"module.backbone.{name}"] = torch.randn_like(learned[f"module.backbone.{name}"])
        changed = content | {key: learned} | ({"target_encoder": learned} if key == "encoder" else {})
        with pytest.raises(ValueError, match=rf"positions {name} .* is the sine-cosine table of no square clip"):
            from_released(changed, Path("v1.pt"), Hints())


def test_a_missing_an_unknown_and_a_misshapen_weight_are_named():
    content = to_released(tiny_model())
    weights = content["target_encoder"]
    del weights["module.backbone.norm.bias"]
    weights["module.backbone.cls_token"] = torch.zeros(1)
    weights["module.backbone.norm.weight"] = torch.zeros(7)
    with pytest.raises(ValueError) as error:
        from_released(content, Path("vitl.pt"), Hints())
    assert str(error.value).splitlines() == [
        "vitl.pt (released checkpoint): does not fit this model, nothing was loaded",
        "  missing: encoder.norm.bias",
        "  unexpected: encoder.cls_token",
        "  reshaped: encoder.norm.weight is (7,), must be (192,)",
        "  dropped: epoch, encoder",
        "  trained mask tokens: 0, 2",
        "  weights don't tell clips: 64 frames at 4 per second (as released), 256 x 256 pixels (as released; "
        "image_size gives another)",
    ]


def test_the_size_of_clips_is_given_or_by_the_files_name():
    content = to_released(tiny_model())
    named, plain, given = ("vitg-384.pt", Hints(), 384), ("vitg.pt", Hints(), 256), ("a.pt", Hints(image_size=64), 64)
    for name, hints, side in (named, plain, given):
        model, _ = from_released(content, Path(name), hints)
        assert model.preprocessing.crop_size == (side, side)


def test_unknown_widths_ask_for_heads():
    torch.manual_seed(0)
    encoder = part_of(VideoEncoder, embed_dim=48, depth=1, num_heads=4, position="rotary_tiled")
    predictor = part_of(Predictor, encoder_dim=48, embed_dim=24, depth=1, num_heads=2, position="rotary_tiled")
    model = PortableModel("V-JEPA 2", encoder, predictor, preprocessing=clips_of("V-JEPA 2"))
    content = to_released(model)
    with pytest.raises(ValueError, match=r"encoder of width 48, which is none of the known sizes .* give num_heads"):
        from_released(content, Path("a.pt"), Hints())
    with pytest.raises(ValueError, match=r"predictor of width 24, .* give predictor_num_heads"):
        from_released(content, Path("a.pt"), Hints(num_heads=4))
    alone, _ = from_released(content, Path("a.pt"), Hints(num_heads=4, encoder_only=True))
    assert alone.predictor is None
    read, _ = from_released(content, Path("a.pt"), Hints(num_heads=4, predictor_num_heads=2))
    assert_equal(model, read)


@pytest.mark.parametrize("num_classes", [[7], [3, 4, 5]])
def test_probe_files_hold_all_their_heads(num_classes: list[int], tmp_path: Path):
    torch.manual_seed(0)
    parts = [part_of(AttentiveProbe, embed_dim=32, num_classes=num_classes, depth=4) for _ in range(2)]
    states = [
        {f"module.{name}": tensor for name, tensor in to_reference_names(part.weights, "classifier").items()}
        for part in parts
    ]
    names = {name.split(".")[1] for name in states[0]} - {"pooler"}
    one_task = len(num_classes) == 1
    assert names == ({"linear"} if one_task else {"verb_classifier", "noun_classifier", "action_classifier"})
    path = saved(tmp_path, {"classifiers": states, "opt": [{}, {}], "scaler": None, "epoch": 20})
    model, _ = read_released(path)
    assert model.encoder is None
    for part, read in zip(parts, model.classifiers, strict=True):
        assert read.settings["num_classes"] == num_classes
        assert (read.settings["depth"], read.settings["num_heads"]) == (4, 16)
        assert all(torch.equal(tensor, read.weights[name]) for name, tensor in part.weights.items())
    write_released(model, tmp_path / "again.pt")
    again, _ = read_released(tmp_path / "again.pt")
    assert_equal(model, again)


def test_a_probe_of_actions_alone_has_one_head():
    part = part_of(AttentiveProbe, embed_dim=32, num_classes=[9])
    state = to_reference_names(part.weights, "classifier")
    state = {name.replace("linear.", "action_classifier."): tensor for name, tensor in state.items()}
    model, _ = from_released({"classifiers": [state]}, Path("ek100.pt"), Hints())
    assert model.classifiers[0].settings["num_classes"] == [9]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"position": "rotary"}, "its V-JEPA 2 has position rotary_tiled where this encoder has rotary"),
        ({"num_heads": 6}, "its V-JEPA 2 has num_heads 3 where this encoder has 6"),
        ({"difference_gain": 2.0}, "its V-JEPA 2 has difference_gain None where this encoder has 2.0"),
        ({"norm_eps": 1e-5}, "its V-JEPA 2 has norm_eps 1e-06 where this encoder has 1e-05"),
    ],
)
def test_what_the_released_code_would_read_otherwise_is_not_written(changes, sentence, tmp_path: Path):
    model = tiny_model()
    assert model.encoder is not None
    changed = replace(model, encoder=Part(model.encoder.settings | changes, model.encoder.weights))
    with pytest.raises(ValueError, match=f"the released code has no such model: {sentence}"):
        write_released(changed, tmp_path / "model.pt")
    assert not list(tmp_path.iterdir())


class Code:
    def __reduce__(self):
        return (print, ("code ran",))


def test_pickled_code_is_refused_and_not_run(tmp_path: Path, capsys):
    content = to_released(tiny_model()) | {"opt": Code()}
    with pytest.raises(ValueError, match=r"holds more than tensors and plain values, so it was not loaded: .*print"):
        read_released(saved(tmp_path, content))
    torch.save(content, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match=r"holds more than tensors and plain values"):
        read_released(tmp_path / "old.pt")
    assert "code ran" not in capsys.readouterr().out


@pytest.mark.parametrize("left", [0, 3, 100, 5000, 0.5, 0.99, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, left):
    path = saved(tmp_path, to_released(tiny_model()))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(left * len(whole)) if isinstance(left, float) else left])
    with pytest.raises(ValueError, match=r"vitl.pt is not a checkpoint \(or was cut short\)$"):
        read_released(path)


RESNET = {"conv1.weight": torch.zeros(64, 3, 7, 7), "bn1.weight": torch.zeros(64), "fc.weight": torch.zeros(10, 512)}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            RESNET,
            "is no V-JEPA checkpoint: it has none of ema_encoder, .*; it has conv1.weight, bn1.weight, fc.weight$",
        ),
        ({"encoder": RESNET}, "the 'encoder' of .* is no V-JEPA encoder: it lacks patch_embed.proj.weight"),
        ({"model": RESNET, "epoch": 3}, "is no V-JEPA checkpoint: .*; it has model, epoch$"),
        ({}, "is no V-JEPA checkpoint: .*; it has nothing$"),
        (
            {"patch_embed.proj.weight": torch.zeros(192, 3, 16, 16), "blocks.0.attn.qkv.weight": torch.zeros(576, 192)},
            r"is an image model: its patch_embed.proj.weight has shape \(192, 3, 16, 16\)",
        ),
        ({"predictor": RESNET}, "has a predictor, but none of ema_encoder, target_encoder, encoder"),
        ({"classifiers": [RESNET]}, "a probe lacks pooler.query_tokens; it has conv1.weight"),
    ],
)
def test_files_of_other_models_are_refused_by_what_they_hold(content, sentence, tmp_path: Path):
    with pytest.raises(ValueError, match=sentence):
        read_released(saved(tmp_path, content))
