"""An encoder of frames learns from its moving average; two ranks and a resumed run change nothing."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from tests.integration.runs import checkpoint, logged, vjepa
from vjepa.data.clips.image_views import ImageViews
from vjepa.interop.run_folder import read_run
from vjepa.models import VideoEncoder
from vjepa.models.prototype_head import PrototypeHead
from vjepa.objectives.self_distillation import SelfDistillation
from vjepa.training import ImageSelfDistillation, Schedule

ENCODER = {"embed_dim": 24, "depth": 1, "num_heads": 2, "tubelet": [1, 8, 8], "per_frame": True}
HEAD = {"input_dim": 24, "hidden_dim": 32, "bottleneck_dim": 8, "num_prototypes": 16}


def model(encoder: dict = {}, head: dict = {}, num_prototypes: int = 16) -> ImageSelfDistillation:  # noqa: B006
    return ImageSelfDistillation(
        VideoEncoder(**(ENCODER | encoder)),
        PrototypeHead(**(HEAD | head)),
        ImageViews((32, 32), (16, 16)),
        SelfDistillation(num_prototypes),
        Schedule(peak=1e-3),
        Schedule(peak=0.04),
    )


@pytest.fixture
def recipe(tiny_recipe) -> Path:
    """The small recipe with this model."""
    settings = yaml.safe_load(tiny_recipe.read_text())
    of_jepa = settings["model"]["init_args"]
    settings["model"] = {
        "class_path": "vjepa.training.ImageSelfDistillation",
        "init_args": {
            "encoder": ENCODER,
            "head": HEAD,
            "views": {"large_size": [32, 32], "small_size": [16, 16]},
            "objective": {"num_prototypes": 16},
            "freeze_prototypes_steps": 2,
            **{name: of_jepa[name] for name in ("learning_rate", "weight_decay", "momentum")},
        },
    }
    settings["trainer"]["max_steps"] = 8
    file = tiny_recipe.with_name("images.yaml")
    file.write_text(yaml.safe_dump(settings))
    return file


@pytest.mark.slow
def test_a_run_trains_resumes_and_is_the_same_on_two_ranks(recipe):
    runs = recipe.parent / "runs"
    whole = vjepa("fit", "-c", recipe, "--name=whole")
    assert whole.returncode == 0, whole.stderr
    assert "prototypes   spread over" in whole.stdout and "vjepa probe -c synthetic" in whole.stdout
    callback = {"class_path": "tests.integration.kill.KillAfterStep", "init_args": {"step": 5}}
    often = "--checkpoint.every_n_steps=4"
    killed = vjepa("fit", "-c", recipe, "--name=cut", often, f"--trainer.callbacks={json.dumps([callback])}")
    assert killed.returncode == -9, killed.stderr
    resumed = vjepa("fit", "-c", recipe, "--name=cut", often, "--ckpt_path=last")
    assert resumed.returncode == 0, resumed.stderr
    ranks = vjepa("fit", "-c", recipe, "--name=ranks", "--trainer.devices=2", "--trainer.strategy=ddp", ranks=2)
    assert ranks.returncode == 0, ranks.stderr

    weights = {name: checkpoint(runs / name / "version_0")["state_dict"] for name in ("whole", "cut", "ranks")}
    assert all(torch.equal(weights["cut"][name], tensor) for name, tensor in weights["whole"].items())
    for name, tensor in weights["whole"].items():
        torch.testing.assert_close(weights["ranks"][name], tensor, atol=1e-5, rtol=1e-4)
    assert logged(runs / "ranks" / "version_0", "train/spread") == pytest.approx(
        logged(runs / "whole" / "version_0", "train/spread"), abs=1e-4
    )
    assert weights["whole"]["objective.centre"].abs().max() > 0

    run = read_run(runs / "whole" / "version_0" / "checkpoints" / "last.ckpt")
    assert run.encoder("target")(torch.randn(1, 3, 4, 32, 32)).shape == (1, 64, 24)
    with pytest.raises(ValueError, match="has no predictor; give a run of JEPA"):
        run.predictor()
    portable, _ = run.portable()
    assert portable.predictor is None


def test_the_target_follows_and_has_no_gradient():
    module = model()
    assert not any(parameter.requires_grad for parameter in module.target_encoder.parameters())
    assert not any(parameter.requires_grad for parameter in module.target_head.parameters())
    for ours, theirs in ((module.target_encoder, module.context_encoder), (module.target_head, module.head)):
        assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"encoder": {"per_frame": False}}, r"needs per_frame: true and a tubelet of one frame, \[1, 8, 8\]"),
        ({"encoder": {"tubelet": [2, 8, 8]}}, "a tubelet of one frame"),
        ({"head": {"input_dim": 12}}, r"input_dim \(12\) must be the encoder's embed_dim \(24\)"),
        ({"num_prototypes": 8}, r"num_prototypes \(8\) must be the head's \(16\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        model(**settings)
