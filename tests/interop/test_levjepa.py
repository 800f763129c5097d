"""LeVJEPA's Hugging Face folder: read and written to the bit, computed as published, and nothing else taken for one."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import vjepa
from tests.interop.tiny_models import assert_equal, part_of, tiny_model
from vjepa.cli.conversion.convert_command import convert
from vjepa.grid import TokenGrid
from vjepa.interop.hugging_face import read_hugging_face, write_hugging_face
from vjepa.interop.networks import build
from vjepa.interop.portable import PortableModel, Preprocessing
from vjepa.interop.released import read_released, to_released
from vjepa.models import VideoEncoder

CLIPS = Preprocessing(4, (24, 24), fps=7.5)
# Of galilai-group/LeVJEPA-VideoMix-Large.
RELEASED = {
    "model_type": "levjepa",
    "img_size": 224,
    "patch_size": 16,
    "num_frames": 16,
    "tubelet_size": 1,
    "in_chans": 3,
    "embed_dim": 1024,
    "depth": 24,
    "num_heads": 16,
    "mlp_ratio": 4.0,
    "qkv_bias": True,
    "use_rope": True,
    "attn_mode": "block_causal",
    "token_drop_rate": 0.0,
}


def ours(**settings) -> PortableModel:
    torch.manual_seed(0)
    sizes = {"embed_dim": 60, "depth": 2, "num_heads": 3, "tubelet": (1, 8, 8), "position": "rotary_tiled"}
    kinds = {"class_token": True, "attention": "causal"}
    return PortableModel("LeVJEPA", part_of(VideoEncoder, **(sizes | kinds | settings)), preprocessing=CLIPS)


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, attention: str):
    model = ours(attention=attention)
    write_hugging_face(model, tmp_path)
    read, report = read_hugging_face(tmp_path)
    assert_equal(model, read)
    assert report.fits
    assert "7.5 frames per second" in str(report)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config.keys() >= RELEASED.keys()
    assert config["architectures"] == ["LeVJEPAModel"]
    assert config["attn_mode"] == {"causal": "block_causal", "full": "full"}[attention]


def test_the_released_model_has_our_names_and_its_number_of_weights(tmp_path: Path):
    settings = {"size": "large", "tubelet": (1, 16, 16), "class_token": True, "attention": "causal"}
    with torch.device("meta"):
        weights = VideoEncoder(**settings, position="rotary_tiled").state_dict()
    assert (len(weights), sum(each.numel() for each in weights.values())) == (293, 303_099_904)
    assert weights["cls_token"].shape == (1, 1, 1024)
    assert weights["patch_embed.proj.weight"].shape == (1024, 3, 1, 16, 16)
    # The released config with the weights of a small model: sizes differ, names are those.
    write_hugging_face(ours(depth=24), tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(RELEASED))
    with pytest.raises(ValueError, match=r"reshaped: encoder\.cls_token is \(1, 1, 60\), must be") as error:
        read_hugging_face(tmp_path)
    assert "missing" not in str(error.value) and "unexpected" not in str(error.value)


def published_tokens(weights: dict[str, Tensor], clips: Tensor, heads: int, causal: bool) -> Tensor:
    """The published formula without any batching of positions: (B, 1 + N, D), the class token first."""
    width = weights["encoder.cls_token"].shape[-1]
    patch = weights["encoder.patch_embed.proj.weight"]
    embedded = torch.nn.functional.conv3d(
        clips, patch, weights["encoder.patch_embed.proj.bias"], stride=patch.shape[2:]
    )
    places = [tuple(place) for place in torch.cartesian_prod(*map(torch.arange, embedded.shape[2:])).tolist()]
    class_token = weights["encoder.cls_token"].expand(len(clips), -1, -1)
    x = torch.cat((class_token, embedded.flatten(2).transpose(1, 2)), dim=1)

    def sees(query: int, key: int) -> bool:
        return not causal or query == 0 or (key > 0 and places[key - 1][0] <= places[query - 1][0])

    visible = torch.tensor([[sees(query, key) for key in range(x.shape[1])] for query in range(x.shape[1])])
    axis = 2 * (width // heads // 3 // 2)

    def turned(head: Tensor) -> Tensor:  # (B, K, width of a head)
        out = head.clone()
        for token, place in enumerate(places, start=1):
            for channel in range(3 * axis):
                inside = channel % axis
                angle = torch.tensor(place[channel // axis] * 10000.0 ** (-(inside % (axis // 2)) / (axis / 2)))
                partner = head[:, token, channel + 1] if inside % 2 == 0 else head[:, token, channel - 1]
                sign = -1 if inside % 2 == 0 else 1
                out[:, token, channel] = head[:, token, channel] * angle.cos() + sign * partner * angle.sin()
        return out

    def affine(name: str, value: Tensor) -> Tensor:
        return value @ weights[f"encoder.{name}.weight"].T + weights[f"encoder.{name}.bias"]

    def normed(name: str, value: Tensor) -> Tensor:
        scale, shift = weights[f"encoder.{name}.weight"], weights[f"encoder.{name}.bias"]
        return torch.nn.functional.layer_norm(value, (width,), scale, shift, eps=1e-6)

    depth = sum(name.endswith("norm1.weight") for name in weights)
    for block in (f"blocks.{number}" for number in range(depth)):
        query, key, value = affine(f"{block}.attn.qkv", normed(f"{block}.norm1", x)).chunk(3, dim=-1)
        joined = []
        for q, k, v in zip(*(part.chunk(heads, dim=-1) for part in (query, key, value)), strict=True):
            scores = turned(q) @ turned(k).transpose(1, 2) / (width // heads) ** 0.5
            joined.append(scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v)
        x = x + affine(f"{block}.attn.proj", torch.cat(joined, dim=-1))
        hidden = torch.nn.functional.gelu(affine(f"{block}.mlp.fc1", normed(f"{block}.norm2", x)))
        x = x + affine(f"{block}.mlp.fc2", hidden)
    return normed("norm", x)


@pytest.mark.parametrize("attention", ["causal", "full"])
def test_tokens_are_those_of_the_published_formula(tmp_path: Path, attention: str):
    write_hugging_face(ours(attention=attention), tmp_path)
    encoder = build(VideoEncoder, read_hugging_face(tmp_path)[0].encoder, "model")
    clips = torch.randn(1, 3, 3, 16, 16)
    with torch.no_grad():
        expected = published_tokens(load_file(tmp_path / "model.safetensors"), clips, 3, attention == "causal")
        torch.testing.assert_close(encoder(clips), expected[:, 1:], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(encoder.embed_clips(clips), expected[:, 0], atol=1e-5, rtol=1e-4)


def test_a_folder_loads_and_converts_like_any_model(tmp_path: Path):
    write_hugging_face(ours(), tmp_path / "levjepa")
    convert(str(tmp_path / "levjepa"), tmp_path / "native", "native")
    convert(str(tmp_path / "native"), tmp_path / "again", "huggingface")
    first, last = (load_file(tmp_path / name / "model.safetensors") for name in ("levjepa", "again"))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)
    card = (tmp_path / "again" / "README.md").read_text()
    assert "class_token True, attention causal" in card and "AutoModel.from_pretrained" in card
    loaded = vjepa.load_encoder(tmp_path / "native")
    clips = torch.randint(0, 255, (2, 3, 4, 24, 24), dtype=torch.uint8)
    assert (loaded.family, loaded.preprocessing) == ("LeVJEPA", CLIPS)
    assert loaded(clips).shape == (2, 36, 60)
    assert loaded.embed_clips(clips).shape == (2, 60)
    assert loaded.encoder.stream().extend(torch.randn(1, 3, 1, 24, 24)).shape == (1, 9, 60)
    assert loaded.encoder.grid_of(clips) == TokenGrid(4, 3, 3)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"use_rope": False}, "use_rope is False; only LeVJEPA models with True are read"),
        ({"qkv_bias": False}, "qkv_bias is False"),
        ({"attn_mode": "causal"}, r"attn_mode \(causal\) must be one of full, block_causal"),
        ({"depth": 3}, r"missing: encoder\.blocks\.2\.norm1\.weight"),
        ({"attn_mode": None}, "lacks attn_mode, which LeVJEPA's released config has"),
    ],
)
def test_a_folder_that_is_not_as_released_is_refused(tmp_path: Path, change: dict, sentence: str):
    write_hugging_face(ours(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps({key: each for key, each in config.items() if each is not None}))
    with pytest.raises(ValueError, match=sentence):
        read_hugging_face(tmp_path)


def test_other_tensors_in_the_folder_are_refused(tmp_path: Path):
    write_hugging_face(ours(), tmp_path)
    weights = load_file(tmp_path / "model.safetensors") | {"projector.net.0.bias": torch.zeros(3)}
    save_file(weights, tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unexpected: projector\.net\.0\.bias"):
        read_hugging_face(tmp_path)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: ours(position="rotary"), "LeVJEPA's model has position rotary_tiled where this encoder has rotary"),
        (lambda: ours(tubelet=(1, 8, 4)), r"has tubelet \(1, 8, 8\) where this encoder has \(1, 8, 4\)"),
        (lambda: ours(norm_eps=1e-5), "LeVJEPA's model has norm_eps 1e-06"),
        (lambda: replace(ours(), predictor=tiny_model().predictor), "only an encoder, this model has a predictor"),
        (lambda: replace(ours(), preprocessing=Preprocessing(4, (24, 16))), "4 of 24 x 16 pixels"),
        (lambda: ours(class_token=False), "this file has no predictor"),
        (
            lambda: replace(ours(class_token=False, embed_dim=192), predictor=tiny_model().predictor),
            "transformers' model has attention full where this encoder has causal",
        ),
    ],
)
def test_a_model_that_the_published_code_cannot_build_is_refused(model, sentence: str, tmp_path: Path):
    with pytest.raises(ValueError, match=sentence):
        write_hugging_face(model(), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_no_released_v_jepa_has_a_class_token_or_causal_attention(tmp_path: Path):
    for settings in ({}, {"class_token": False}, {"attention": "full"}):
        with pytest.raises(ValueError, match="the released V-JEPA code has neither a class token nor causal attention"):
            to_released(ours(**settings))
    torch.save({"encoder": ours(embed_dim=192).encoder.weights}, tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"unexpected: encoder\.cls_token"):
        read_released(tmp_path / "model.pt")
