"""`vjepa fit` trains a world model: what it logs, and that a resumed run is the unbroken one."""

import av
import pytest
import torch

from tests.training.tiny_dot_world import write_dot_world
from vjepa.cli.main import main
from vjepa.monitoring.card.media import logged_pictures

pytestmark = pytest.mark.slow

RECIPE = """
trainer: {max_steps: 8, accelerator: cpu, val_check_interval: 4, limit_val_batches: 1}
world_model_health: {every_n_steps: 4, num_windows: 12}
model:
  class_path: vjepa.training.WorldModel
  init_args:
    action_dim: 2
    frame_step: 2
    encoder:
      class_path: vjepa.models.frame_encoder.ConvFrameEncoder
      init_args: {frame_size: [16, 16], embed_dim: 8, channels: 8, num_keypoints: 4, hidden_dim: 32}
    dynamics:
      class_path: vjepa.models.dynamics.residual.ResidualDynamics
      init_args: {hidden_dim: 16}
    terms:
      rollout: {class_path: vjepa.objectives.world.Rollout}
      time_similarity: {class_path: vjepa.objectives.world.TimeSimilarity}
      inverse_dynamics: {class_path: vjepa.objectives.world.InverseDynamicsTerm, init_args: {hidden_dim: 16}}
      regularizer:
        class_path: vjepa.objectives.world.FrameRegularization
        init_args: {regularizer: {class_path: vjepa.objectives.VarianceCovariance}}
    dynamics_phase: {steps: 3, num_windows: 8, num_steps: 5, num_pairs: 16}
    temporal_distance: {hidden_dim: 16, imagined_chunks: 2}
data:
  class_path: vjepa.data.episodes.data_module.EpisodeDataModule
  init_args: {root: EPISODES, num_steps: 4, global_batch_size: 8, val_fraction: 0.25}
"""


@pytest.fixture
def recipe(tmp_path):
    episodes = write_dot_world(tmp_path / "episodes")
    file = tmp_path / "dots.yaml"
    file.write_text(RECIPE.replace("EPISODES", str(episodes)))
    return file


def fit(recipe, name: str, *flags: str) -> dict:
    main(["fit", "-c", str(recipe), f"--runs={recipe.parent / 'runs'}", f"--name={name}", *flags])
    last = sorted((recipe.parent / "runs" / name).glob("*/checkpoints/last.ckpt"))[-1]
    return torch.load(last, weights_only=True)


def test_a_run_says_whether_its_model_is_fit_to_plan_with(recipe, capsys):
    fit(recipe, "whole")
    said = capsys.readouterr().out
    for line in ("Finished at step 8", "of the change in an action chunk", "health ", "docs/own-robot-data.md"):
        assert line in said
    run = recipe.parent / "runs" / "whole" / "version_0"
    assert [each.caption for each in logged_pictures(run)["imagined"]] == ["step 4", "step 8"]
    film = run / "imagined.mp4"
    assert f"{film}: imagined against real" in said
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 13  # 24 raw steps, 2 in a chunk


def test_a_resumed_run_is_the_unbroken_one_into_the_dynamics_phase(recipe):
    whole = fit(recipe, "whole")
    # Stopped in mid-way, as by a kill: the run's length, and so its schedules, stay what they are.
    fit(recipe, "parts", "--checkpoint.keep_every_n_steps=2")
    folder = recipe.parent / "runs" / "parts" / "version_0" / "checkpoints"
    for checkpoint in ("step_4.ckpt", "step_6.ckpt"):  # before the phase and in it
        resumed = fit(recipe, "parts", f"--ckpt_path={folder / checkpoint}")
        for name, weights in whole["state_dict"].items():
            torch.testing.assert_close(resumed["state_dict"][name], weights, rtol=0, atol=0, msg=name)


def test_slips_end_in_one_sentence(recipe, capsys):
    for flag, sentence in (
        ("--model.action_dim=3", "the model's action_dim is 3, the data's is 2; make them equal"),
        ("--data.num_steps=40", "longest"),
        ("--model.targets=vjepa.training.Sounds", "Sounds"),
        ("--trainer.max_steps=3", "a dynamics phase of 3 steps leaves no step of the run's 3 to train the encoder"),
        ("--trainer.max_steps=2", "a dynamics phase of 3 steps leaves no step of the run's 2 to train the encoder"),
    ):
        with pytest.raises(SystemExit) as ended:
            fit(recipe, "slip", flag)
        assert ended.value.code == 2
        said = capsys.readouterr().err
        assert sentence in said
        assert "Traceback" not in said


def test_a_frozen_encoder_may_be_trained_on_in_the_dynamics_phase_alone(recipe):
    frozen = ("--model.freeze_encoder=true", "--model.terms={rollout: vjepa.objectives.world.Rollout}")
    assert fit(recipe, "frozen", *frozen, "--trainer.max_steps=3")["global_step"] == 3


@pytest.mark.parametrize(("limit", "steps"), [("5", 25), ("0.45", 25)])
def test_limited_epochs_have_all_their_steps(recipe, limit, steps):
    flags = (f"--trainer.limit_train_batches={limit}", "--trainer.max_epochs=5", "--trainer.max_steps=-1")
    assert fit(recipe, "limited", *flags)["global_step"] == steps


def test_a_checkpoint_of_a_clip_model_is_refused_and_the_other_way_round(recipe, tiny_recipe, capsys):
    fit(recipe, "world", "--trainer.max_steps=4")
    fit(tiny_recipe, "clips", "--trainer.max_steps=1")
    for one, other in ((recipe, tiny_recipe), (tiny_recipe, recipe)):
        last = next(
            (recipe.parent / "runs").glob(f"{'clips' if other is tiny_recipe else 'world'}/*/checkpoints/last.ckpt")
        )
        with pytest.raises(SystemExit) as ended:
            fit(one, "slip", f"--ckpt_path={last}")
        assert ended.value.code == 2
        assert f"{last} is of another kind of model" in capsys.readouterr().err
