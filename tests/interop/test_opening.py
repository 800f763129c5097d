"""Any format is told by looking at it; models go round through all of them; loaded encoders are frozen."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

import vjepa
from tests.interop.tiny_models import assert_equal, part_of, tiny_model
from vjepa.cli.checkpoint_arguments import CheckpointArguments
from vjepa.data.clips.batch import normalize_clips
from vjepa.interop import PortableModel, Preprocessing, encoder_part_of, open_model
from vjepa.interop.hugging_face import write_hugging_face
from vjepa.interop.load_encoder import LoadedEncoder
from vjepa.interop.native import read_native, write_native
from vjepa.interop.networks import build, whole_settings
from vjepa.interop.opening import open_run
from vjepa.interop.recipe import RECIPES
from vjepa.interop.released import write_released
from vjepa.interop.renamed import note
from vjepa.interop.run_folder import preprocessing_of, read_settings
from vjepa.models import ActionPredictor, AttentiveProbe, Predictor, VideoEncoder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `vjepa fit` leaves: settings and a checkpoint, here with random weights."""
    folder = tmp_path_factory.mktemp("run") / "tiny" / "version_0"
    (folder / "checkpoints").mkdir(parents=True)
    encoder = {"size": "tiny", "embed_dim": 24, "depth": 2, "num_heads": 2, "tubelet": [2, 8, 8]}
    predictor = {"embed_dim": 24, "depth": 1, "num_heads": 2}
    data = {"num_frames": 4, "crop_size": [32, 32], "fps": None, "frame_step": 2, "train_manifest": "train.csv"}
    recipe = {"model": {"init_args": {"encoder": encoder, "predictor": predictor}}, "data": {"init_args": data}}
    (folder / "config.yaml").write_text(yaml.safe_dump(recipe))
    torch.manual_seed(0)
    networks = {
        "context_encoder": part_of(VideoEncoder, **encoder),
        "target_encoder": part_of(VideoEncoder, **encoder),
        "predictor": part_of(Predictor, encoder_dim=24, **predictor),
    }
    weights = {f"{name}.{key}": each for name, part in networks.items() for key, each in part.weights.items()}
    weights["agreement.expander.weight"] = torch.zeros(3)
    torch.save({"state_dict": weights, "global_step": 7}, folder / "checkpoints" / "last.ckpt")
    return folder


@pytest.mark.parametrize("family", ["V-JEPA 1", "V-JEPA 2", "V-JEPA 2.1", "V-JEPA 2-AC"])
def test_native_to_released_to_native_changes_nothing(family, tmp_path: Path):
    model = tiny_model(family, probes=1)
    write_native(model, tmp_path / "a")
    write_released(open_model(tmp_path / "a")[0], tmp_path / "b.pt")
    write_native(open_model(tmp_path / "b.pt")[0], tmp_path / "c")
    assert_equal(model, open_model(tmp_path / "c")[0])
    first, last = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "c"))
    assert first.keys() == last.keys() and all(torch.equal(first[name], last[name]) for name in first)
    settings = [yaml.safe_load((tmp_path / name / "model.yaml").read_text()) for name in ("a", "c")]
    del settings[0]["origin"], settings[1]["origin"]
    assert settings[0] == settings[1]


def test_native_to_hugging_face_to_native_changes_nothing(tmp_path: Path):
    model = tiny_model()
    write_native(model, tmp_path / "a")
    write_hugging_face(open_model(tmp_path / "a")[0], tmp_path / "b")
    write_native(open_model(tmp_path / "b")[0], tmp_path / "c")
    assert_equal(model, open_model(tmp_path / "c")[0])


def test_native_weights_have_our_names(tmp_path: Path):
    model = replace(tiny_model(probes=2), action_predictor=tiny_model("V-JEPA 2-AC").action_predictor)
    write_native(model, tmp_path)
    names = set(load_file(tmp_path / "model.safetensors"))
    assert {
        "encoder.blocks.0.attn.qkv.weight",
        "predictor.mask_tokens.2",
        "action_predictor.action_embed.weight",
        "classifiers.1.classifiers.0.weight",
    } <= names
    read, _ = read_native(tmp_path)
    assert_equal(model, read)
    assert read.action_predictor is not None
    build(ActionPredictor, read.action_predictor, "model")
    build(AttentiveProbe, read.classifiers[0], "model")


def test_settings_are_written_with_their_defaults(tmp_path: Path):
    """So that a later default changes no file that is there."""
    write_native(tiny_model(), tmp_path)
    settings = yaml.safe_load((tmp_path / "model.yaml").read_text())
    assert settings["encoder"]["mlp_ratio"] == 4.0 and settings["encoder"]["norm_eps"] == 1e-6
    assert settings["predictor"]["target_dim"] == 192


def test_a_run_gives_either_of_its_encoders(run_folder: Path):
    checkpoint = run_folder / "checkpoints" / "last.ckpt"
    weights = torch.load(checkpoint, weights_only=True)["state_dict"]
    for which, name in ((None, "target"), ("target", "target"), ("context", "context"), ("encoder", "context")):
        for path in (run_folder, checkpoint):
            model, report = open_model(path, which)
            assert model.encoder is not None and model.predictor is not None
            assert torch.equal(model.encoder.weights["norm.weight"], weights[f"{name}_encoder.norm.weight"])
            assert model.preprocessing == Preprocessing(4, (32, 32), None, 2)
            assert report.dropped[0] == "agreement"
    with pytest.raises(ValueError, match="has no encoder 'ema_encoder'; a run has target and context"):
        open_model(run_folder, "ema_encoder")


def test_a_run_goes_to_native_but_not_where_its_positions_are_unknown(run_folder: Path, tmp_path: Path):
    model, _ = open_model(run_folder)
    write_native(model, tmp_path / "model")
    assert_equal(model, open_model(tmp_path / "model")[0])
    with pytest.raises(ValueError, match="the released code has no such model"):
        write_released(model, tmp_path / "model.pt")
    with pytest.raises(ValueError, match="transformers' model has position rotary_tiled where this encoder has rotary"):
        write_hugging_face(model, tmp_path / "hf")


def test_a_recipe_gives_the_same_random_weights_each_time():
    before = torch.get_rng_state()
    model, report = open_model("configs/pretrain/synthetic.yaml")
    again, _ = open_model(ROOT / RECIPES / "pretrain" / "synthetic.yaml")
    assert_equal(model, again)
    assert torch.equal(before, torch.get_rng_state())
    assert "weights are random (seed 0)" in str(report)
    assert model.preprocessing.crop_size == (64, 64)


@pytest.mark.parametrize(
    "recipe", sorted((ROOT / RECIPES / "pretrain").glob("vjepa2_vit*.yaml")), ids=lambda path: path.stem
)
def test_settings_of_all_recipes_are_read(recipe: Path):
    settings = read_settings(recipe)
    assert whole_settings(VideoEncoder, settings.encoder)["embed_dim"] == settings.predictor["encoder_dim"]
    assert preprocessing_of(settings.data).crop_size[0] in (224, 256, 384)


@pytest.mark.parametrize("family", ["V-JEPA 1", "V-JEPA 2", "V-JEPA 2.1"])
def test_a_loaded_encoder_computes_and_is_frozen(family, tmp_path: Path):
    model = tiny_model(family)
    assert model.encoder is not None
    write_released(model, tmp_path / "model.pt")
    before = torch.get_rng_state()
    encoder = vjepa.load_encoder(tmp_path / "model.pt")
    assert torch.equal(before, torch.get_rng_state())
    assert not encoder.training and not any(parameter.requires_grad for parameter in encoder.parameters())
    assert (encoder.family, encoder.source) == (family, str(tmp_path / "model.pt"))
    clips = torch.randint(0, 256, (2, 3, 4, 32, 64), dtype=torch.uint8)  # another size than that of the table
    plain = VideoEncoder(**model.encoder.settings)
    plain.load_state_dict(model.encoder.weights)
    tokens = encoder(clips)
    torch.testing.assert_close(tokens, plain(normalize_clips(clips)), rtol=0, atol=0)
    last = len(plain.blocks) - 1
    torch.testing.assert_close(encoder.levels(clips, [last])[0], tokens, rtol=0, atol=0)
    assert not tokens.requires_grad


def test_a_loaded_encoder_in_half_precision_takes_the_same_clips(tmp_path: Path):
    write_native(tiny_model(), tmp_path)
    encoder = vjepa.load_encoder(tmp_path)
    clips = torch.randint(0, 256, (1, 3, 4, 32, 32), dtype=torch.uint8)
    tokens = encoder(clips)
    torch.testing.assert_close(encoder.to(torch.bfloat16)(clips).float(), tokens, rtol=0, atol=0.1)


def test_a_loaded_encoder_takes_pixels_as_they_are_decoded(tmp_path: Path):
    write_native(tiny_model(), tmp_path)
    encoder = vjepa.load_encoder(tmp_path, image_size=64)
    assert encoder.preprocessing.crop_size == (64, 64)
    for clips in (torch.zeros(1, 3, 4, 32, 32), torch.zeros(1, 4, 3, 32, 32, dtype=torch.uint8)):
        with pytest.raises(ValueError, match=r"must be \(clips, 3 colours, frames, height, width\) of torch.uint8"):
            encoder(clips)
    with pytest.raises(ValueError, match=r"num_heads \(4\) must be that of .*, 3; leave it out"):
        vjepa.load_encoder(tmp_path, num_heads=4)
    with pytest.raises(ValueError, match="has one encoder; leave out which"):
        vjepa.load_encoder(tmp_path, which="encoder")
    with pytest.raises(ValueError, match="only ImageNet's"):
        LoadedEncoder(encoder.encoder, replace(encoder.preprocessing, mean=(0.5, 0.5, 0.5)), "V-JEPA 2", "a")


def test_an_encoder_alone_is_read_out_of_a_file(tmp_path: Path):
    model = tiny_model("V-JEPA 2-AC")
    write_released(model, tmp_path / "vjepa2-ac-vitg.pt")
    part = encoder_part_of(tmp_path / "vjepa2-ac-vitg.pt")
    assert model.encoder is not None and part.weights.keys() == model.encoder.weights.keys()
    probes = PortableModel("V-JEPA 2", None, classifiers=tiny_model(probes=1).classifiers)
    write_released(probes, tmp_path / "probes.pt")
    with pytest.raises(ValueError, match="holds probes without an encoder"):
        encoder_part_of(tmp_path / "probes.pt")


def test_what_is_no_model_is_refused_in_a_sentence(tmp_path: Path):
    (tmp_path / "empty").mkdir()
    save_file({"a": torch.zeros(1)}, tmp_path / "weights.safetensors")
    (tmp_path / "broken.yaml").write_text("model: 3")
    (tmp_path / "a.ckpt").write_bytes(b"no checkpoint")
    torch.save({"state_dict": {}}, tmp_path / "lone.ckpt")
    torch.save([1], tmp_path / "list.pt")
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "epoch": 3}, tmp_path / "resnet.pth.tar")
    for name, sentence in (
        ("none.pt", "there is no file, folder or recipe .*none.pt; give the path of a model$"),
        ("empty", r"holds no model: neither model.yaml \(native\) nor config.json"),
        ("weights.safetensors", "holds weights without settings"),
        ("broken.yaml", "holds no settings of a vjepa run"),
        ("a.ckpt", r"a.ckpt is not a checkpoint \(or was cut short\)"),
        ("lone.ckpt", "the settings of .*lone.ckpt are not at .*config.yaml"),
        ("resnet.pth.tar", "is no V-JEPA checkpoint: .*; it has state_dict, epoch$"),
        ("list.pt", "list.pt holds a list, not a checkpoint"),
    ):
        with pytest.raises(ValueError, match=sentence):
            open_model(tmp_path / name)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("format: 1", "format: 9", "is no native model of format 1"),
        ("family: V-JEPA 2", "family: V-JEPA 9", r"family \(V-JEPA 9\) must be one of V-JEPA 1, "),
        ("depth: 1", "dept: 1", "VideoEncoder has no setting dept; it has size, embed_dim, depth"),
        ("num_frames: 64", "frames: 64", "is not as `vjepa convert` writes it"),
        ("num_mask_tokens: 3", "num_mask_tokens: 2", "unexpected: predictor.mask_tokens.2"),
    ],
)
def test_native_settings_that_do_not_fit_are_refused(old, new, sentence, tmp_path: Path):
    write_native(tiny_model(), tmp_path)
    settings = (tmp_path / "model.yaml").read_text()
    assert old in settings
    (tmp_path / "model.yaml").write_text(settings.replace(old, new, 1))
    with pytest.raises(ValueError, match=sentence):
        open_model(tmp_path)


def test_native_weights_alone_are_not_whole(tmp_path: Path):
    write_native(tiny_model(), tmp_path)
    (tmp_path / "model.yaml").unlink()
    with pytest.raises(ValueError, match="holds weights without settings"):
        open_model(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"has no model.yaml: it is no native folder, or not whole"):
        read_native(tmp_path)


def test_importing_vjepa_stays_cheap():
    script = "import sys, vjepa; vjepa.load_encoder; print('vjepa.interop' in sys.modules, 'lightning' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert run.stdout.split() == ["False", "False"]


def test_random_weights_of_a_recipe_are_announced(monkeypatch, tmp_path, capsys):
    note.cache_clear()
    monkeypatch.chdir(tmp_path)
    vjepa.load_encoder("configs/pretrain/synthetic.yaml")
    assert "configs/pretrain/synthetic.yaml: weights are random (seed 0): a recipe has none" in capsys.readouterr().err


# --- evaluations


def test_evaluations_open_every_format_that_encoders_are_loaded_from(run_folder, tmp_path):
    model = tiny_model("V-JEPA 2")
    write_native(model, tmp_path / "native")
    write_hugging_face(model, tmp_path / "hugging_face")
    write_released(model, tmp_path / "released.pt")
    for path in (run_folder, run_folder / "checkpoints" / "last.ckpt", *tmp_path.iterdir()):
        run = open_run(path)
        ours, theirs = run.encoder("target"), vjepa.load_encoder(path).encoder
        assert all(torch.equal(tensor, ours.state_dict()[name]) for name, tensor in theirs.state_dict().items())
        untrained, predictor = run.untrained_networks()
        assert untrained.state_dict().keys() == ours.state_dict().keys()
        assert predictor.state_dict().keys() == run.predictor().state_dict().keys()
        assert run.title == ("tiny, step 7" if run.step == 7 else path.name)


def test_where_results_of_a_checkpoint_go(run_folder, tmp_path):
    write_native(tiny_model("V-JEPA 2"), tmp_path / "native")
    for path, folder in ((run_folder, run_folder / "probe"), (tmp_path / "native", tmp_path / "native" / "probe")):
        source = CheckpointArguments(checkpoint=path, runs=tmp_path)
        assert source.folder(source.read(), "probe") == folder


def test_a_context_encoder_is_taken_where_there_is_one(run_folder, tmp_path):
    write_native(tiny_model("V-JEPA 2"), tmp_path / "native")
    assert open_run(run_folder, "context").encoder("context").embed_dim == 24
    with pytest.raises(ValueError, match=r"native has one encoder; leave out which \('context'\)"):
        open_run(tmp_path / "native", "context")


def test_a_folder_that_holds_no_model_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"holds no model: neither model.yaml"):
        open_run(tmp_path)
