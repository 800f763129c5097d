"""Hugging Face folders against transformers itself, in both directions; what it has no model for is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import VJEPA2Config, VJEPA2ForVideoClassification, VJEPA2Model

from tests.interop.tiny_models import assert_equal, full_model, part_of, tiny_model
from vjepa.grid import TokenGrid
from vjepa.interop.hugging_face import read_hugging_face, write_hugging_face
from vjepa.interop.hugging_face.vjepa2 import from_hugging_face, to_hugging_face
from vjepa.interop.networks import build
from vjepa.interop.portable import PortableModel, Preprocessing
from vjepa.masking import TubeMask
from vjepa.models import AttentiveProbe, Predictor, VideoEncoder

close = {"atol": 1e-5, "rtol": 1e-5}
GRID = TokenGrid(4, 4, 4)
CLIPS = Preprocessing(8, (64, 64))


def ours(probes: int = 0) -> PortableModel:
    """Heads that share 48 channels: an encoder of three, a predictor of two."""
    torch.manual_seed(0)
    return PortableModel(
        "V-JEPA 2",
        part_of(VideoEncoder, embed_dim=48, depth=2, num_heads=3, position="rotary_tiled"),
        part_of(
            Predictor,
            encoder_dim=48,
            embed_dim=24,
            depth=2,
            num_heads=2,
            position="rotary_tiled",
            num_mask_tokens=3,
        ),
        classifiers=[part_of(AttentiveProbe, embed_dim=48, num_classes=[5], depth=3, num_heads=3)][:probes],
        preprocessing=CLIPS,
    )


def theirs(network: type, **settings) -> torch.nn.Module:
    """Their model with random weights, biases and norms too."""
    torch.manual_seed(1)
    config = VJEPA2Config(
        crop_size=64,
        frames_per_clip=8,
        hidden_size=48,
        num_attention_heads=3,
        num_hidden_layers=2,
        num_pooler_layers=2,
        pred_hidden_size=24,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=2,
        pred_num_mask_tokens=3,
        **settings,
    )
    model = network(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return model


@torch.no_grad()
def assert_same_tokens(model: PortableModel, reference: torch.nn.Module) -> None:
    assert model.encoder is not None and model.predictor is not None
    encoder = build(VideoEncoder, model.encoder, "model")
    predictor = build(Predictor, model.predictor, "model")
    clips = torch.randn(2, 3, 8, 64, 64)
    ids = torch.stack([torch.randperm(GRID.num_tokens) for _ in range(2)])
    mask = TubeMask(ids[:, :20].sort().values, ids[:, 20:].sort().values)
    expected = reference(clips.transpose(1, 2), context_mask=[mask.context_ids], target_mask=[mask.target_ids])
    tokens = encoder(clips)
    torch.testing.assert_close(tokens, expected.last_hidden_state, **close)
    context = tokens.gather(1, mask.context_ids[..., None].expand(-1, -1, 48))
    predicted = predictor(context, mask, GRID, mask_token=1)  # transformers takes its second one
    torch.testing.assert_close(predicted, expected.predictor_output.last_hidden_state, **close)


@torch.no_grad()
def assert_same_scores(model: PortableModel, reference: torch.nn.Module) -> None:
    for module in reference.pooler.modules():
        if isinstance(module, torch.nn.LayerNorm):
            module.eps = 1e-5  # as released probes were trained; transformers has 1e-6
    assert model.encoder is not None
    encoder = build(VideoEncoder, model.encoder, "model")
    probe = build(AttentiveProbe, model.classifiers[0], "model")
    clips = torch.randn(2, 3, 8, 64, 64)
    torch.testing.assert_close(probe(encoder(clips))[0], reference(clips.transpose(1, 2)).logits, **close)


def test_transformers_computes_what_we_wrote(tmp_path: Path):
    write_hugging_face(ours(), tmp_path / "model")
    assert_same_tokens(ours(), VJEPA2Model.from_pretrained(tmp_path / "model"))


def test_transformers_scores_as_what_we_wrote(tmp_path: Path):
    write_hugging_face(ours(probes=1), tmp_path / "model")
    reference = VJEPA2ForVideoClassification.from_pretrained(tmp_path / "model")
    assert reference.config.num_labels == 5
    assert_same_scores(ours(probes=1), reference)


@pytest.mark.parametrize("shard", ["10GB", "100KB"], ids=["one file", "shards"])
def test_we_compute_what_transformers_wrote(tmp_path: Path, shard: str):
    reference = theirs(VJEPA2Model)
    reference.save_pretrained(tmp_path, max_shard_size=shard)
    assert (tmp_path / "model.safetensors.index.json").exists() == (shard == "100KB")
    model, report = read_hugging_face(tmp_path)
    assert report.trained_mask_tokens == [0, 1, 2]
    assert (model.family, model.preprocessing) == ("V-JEPA 2", CLIPS)
    assert_same_tokens(model, reference)


def test_we_score_as_what_transformers_wrote(tmp_path: Path):
    reference = theirs(VJEPA2ForVideoClassification, num_labels=7)
    reference.save_pretrained(tmp_path)
    model, report = read_hugging_face(tmp_path)
    assert "eps 1e-5" in str(report)
    assert_same_scores(model, reference)


@pytest.mark.parametrize("probes", [0, 1])
def test_a_folder_is_read_as_it_was_written(tmp_path: Path, probes: int):
    write_hugging_face(ours(probes), tmp_path)
    read, report = read_hugging_face(tmp_path)
    assert_equal(ours(probes), read)
    assert report.fits


@pytest.mark.parametrize("size", ["tiny", "small", "base", "large", "huge", "giant", "gigantic"])
def test_every_size_comes_back_with_its_names_and_shapes(size):
    model = full_model(size)
    config, weights = to_hugging_face(model)
    read, _ = from_hugging_face(json.loads(json.dumps(config)), weights, Path("model"))
    assert_equal(model, replace(read, preprocessing=model.preprocessing))


def test_names_and_shapes_are_those_of_transformers():
    config, weights = to_hugging_face(full_model("large"))
    with torch.device("meta"):
        wanted = VJEPA2Model(VJEPA2Config.from_dict(config)).state_dict()
    assert {name: tensor.shape for name, tensor in weights.items()} == {
        name: tensor.shape for name, tensor in wanted.items()
    }


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda: tiny_model("V-JEPA 1"), "this is a V-JEPA 1, .*: transformers has no such model"),
        (lambda: tiny_model("V-JEPA 2.1"), "this is a V-JEPA 2.1, .*: transformers has no such model"),
        (lambda: tiny_model("V-JEPA 2-AC"), "this is a V-JEPA 2-AC, .*: transformers has no such model"),
        (lambda: tiny_model(probes=1), "transformers' model has num_heads 3 where this classifiers.0 has 16"),
        (lambda: tiny_model(probes=2), "transformers' model has one probe, this file has 2"),
        (lambda: replace(tiny_model(), predictor=None), "this file has no predictor"),
        (lambda: replace(tiny_model(), preprocessing=Preprocessing(8, (64, 32))), "64 x 32 pixels are not square"),
    ],
)
def test_what_transformers_has_no_model_for_is_refused(model, sentence, tmp_path: Path):
    with pytest.raises(ValueError, match=sentence):
        write_hugging_face(model(), tmp_path / "model")
    assert not (tmp_path / "model").exists()


def test_another_model_type_is_refused(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "videomae"}')
    with pytest.raises(
        ValueError, match="holds a model of type 'videomae'; of Hugging Face's models 'vjepa2' and 'levjepa' are read"
    ):
        read_hugging_face(tmp_path)


def test_broken_folders_are_refused(tmp_path: Path):
    write_hugging_face(ours(), tmp_path)
    weights, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps(settings | {"num_hidden_layers": 3, "pred_num_mask_tokens": 2}))
    with pytest.raises(
        ValueError, match=r"missing: encoder.blocks.2.norm1.weight(.|\n)*unexpected: predictor.mask_tok"
    ):
        read_hugging_face(tmp_path)
    config.write_text(json.dumps(settings | {"hidden_act": "relu"}))
    with pytest.raises(ValueError, match="hidden_act is relu, but every V-JEPA 2 model has gelu"):
        read_hugging_face(tmp_path)
    config.write_text(json.dumps(settings)[:30])
    with pytest.raises(ValueError, match=r"config.json is no JSON \(or was cut short\)"):
        read_hugging_face(tmp_path)
    config.write_text(json.dumps(settings))
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"is no safetensors file \(or was cut short\)"):
        read_hugging_face(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match="there is no weights file"):
        read_hugging_face(tmp_path)


def test_shards_outside_of_the_folder_are_refused(tmp_path: Path):
    write_hugging_face(ours(), tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../other.safetensors"}}')
    with pytest.raises(ValueError, match=r"names files outside of its folder: \.\./other"):
        read_hugging_face(tmp_path)
