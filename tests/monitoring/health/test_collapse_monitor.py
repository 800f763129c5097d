"""The monitor's promises: it changes nothing, tells sick from healthy runs, and acts as it is told."""

import copy
import math

import pytest
import torch
from lightning.pytorch import Callback

from tests.integration.runs import checkpoint, logged
from tests.training.test_jepa import batch, jepa, target_tokens, train
from vjepa.cli.main import main
from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.token_statistics import effective_rank, feature_std
from vjepa.grid import TokenGrid
from vjepa.models import Predictor, VideoEncoder, encode_levels
from vjepa.monitoring import CollapseMonitor
from vjepa.monitoring.health.collapse_monitor import prediction_health, token_health
from vjepa.monitoring.health.collapse_watch import CollapseWatch, HealthLimits, Judgement, Verdict
from vjepa.monitoring.health.collapse_watch_actions import CollapsedRunError
from vjepa.objectives import ClipStep, LatentPrediction, normalized_targets
from vjepa.training import JEPA, OwnTokens, PixelBaseline, Schedule

QUANTITIES = {
    *(f"{tokens}_{of}" for tokens in ("context", "target", "predicted") for of in ("rank", "std")),
    "target_centred_rank",
    "target_variance",
    "target_cosine",
    "encoder_distance",
    "loss_over_mean_token",
    "loss_over_nearest_visible",
    "loss_over_previous_frame",
    "loss_over_variance",
}
ALWAYS_SICK = ("--collapse_monitor.limits.fraction_of_first=1.0", "--collapse_monitor.limits.min_variance=9")
AT_ONCE = ("--collapse_monitor.limits.window=1", "--collapse_monitor.limits.first_readings=1")


class KeepReadings(CollapseMonitor):
    def __init__(self, **settings):
        super().__init__(**settings)
        self.readings: list[dict[str, float]] = []
        add = self.watch.add
        self.watch.add = lambda values: self.readings.append(values) or add(values)


class NoteWeights(Callback):
    """Weights, optimizer and learning rate after each step, before the monitor's own hook: it must stand before it."""

    def __init__(self):
        self.notes = {}

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.notes[trainer.global_step] = (
            copy.deepcopy(module.state_dict()),
            copy.deepcopy(trainer.optimizers[0].state_dict()["state"]),
            trainer.optimizers[0].param_groups[0]["lr"],
        )


class ScriptedMonitor(CollapseMonitor):
    """Reads nothing: reading number i is judged as the script says."""

    def __init__(self, script: list[Verdict], **settings):
        super().__init__(every_n_steps=1, limits=HealthLimits(window=2), **settings)
        verdicts = iter(script)

        def add(values):
            self.watch.judgement = Judgement(next(verdicts), "by the script")
            return self.watch.judgement

        self.watch.add = add


def two_level_jepa() -> JEPA:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 4, 4), output_levels=(0, 1))
    predictor = Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2, num_levels=2)
    return JEPA(encoder, predictor, learning_rate=Schedule(peak=1e-3), momentum=Schedule(peak=0.5))


@pytest.mark.parametrize("make", [jepa, two_level_jepa])
def test_every_quantity_is_read_at_each_due_step(tmp_path, make):
    monitor = KeepReadings(every_n_steps=2)
    train(make(), tmp_path, 5, [monitor])
    assert len(monitor.readings) == 3
    for reading in monitor.readings:
        of_time = {name for name in reading if "_away" in name}
        assert set(reading) - of_time == QUANTITIES
        assert {name.partition("_away")[0] for name in of_time} == {"loss_mask0", "loss_mask1"}
        assert all(math.isfinite(value) for value in reading.values())
    assert monitor.readings[0]["encoder_distance"] > 0  # after the step: the context encoder has moved


@pytest.mark.parametrize("make", [jepa, two_level_jepa, lambda: jepa(targets=OwnTokens())])
def test_a_step_holds_what_the_networks_give(make):
    module, given = make(), batch(0)
    step = module.step(given).detached()
    clips, mask = normalize_clips(given.clips), given.masks[0]
    whole = module.context_encoder(clips) if isinstance(module.targets, OwnTokens) else module.target_encoder(clips)
    torch.testing.assert_close(step.contexts[0][..., -24:], module.context_encoder(clips, mask.context_ids))
    torch.testing.assert_close(step.whole_tokens, whole)
    targets = normalized_targets(target_tokens(module, clips), module.predictor.num_levels)
    torch.testing.assert_close(step.targets, targets)
    context = encode_levels(module.context_encoder, clips, module.predictor.num_levels, mask.context_ids)
    torch.testing.assert_close(step.predictions[0], module.predictor(context, mask, step.grid))
    assert len(step.predictions) == 2 and not any(tensor.requires_grad for tensor in step.predictions)
    assert not any(loss.requires_grad for loss in step.losses.values())


def test_the_losses_beside_trivial_ones_are_those_of_the_step():
    module, given = jepa(terms={"prediction": LatentPrediction(exponent=2.0)}), batch(0)
    step = module.step(given)
    losses = step.losses
    values = prediction_health(step, module.prediction)
    targets = normalized_targets(step.whole_tokens)
    num_hidden = [mask.target_ids.shape[1] for mask in given.masks]
    mean = sum(float(losses[f"loss_mask{i}"].detach()) * count for i, count in enumerate(num_hidden)) / sum(num_hidden)
    assert values["loss_over_variance"] == pytest.approx(mean / float(targets.var(dim=0).mean()), rel=1e-4)


def test_statistics_are_of_the_step_and_not_of_validation_or_later_parts_of_a_step(tmp_path):
    module, monitor = jepa(learning_rate=Schedule(peak=0.0)), KeepReadings(every_n_steps=1)
    train(module, tmp_path, 4, [monitor], accumulate_grad_batches=2)
    assert len(monitor.readings) == 2
    target = module.target_encoder(normalize_clips(batch(2).clips))
    assert monitor.readings[1]["target_rank"] == pytest.approx(effective_rank(target), rel=1e-4)
    assert monitor.readings[1]["target_std"] == pytest.approx(feature_std(target), rel=1e-4)


def test_a_model_that_predicts_pixels_has_tokens_and_no_targets(tmp_path):
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 4, 4))
    predictor = Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2, target_dim=96)
    rates = {"learning_rate": Schedule(peak=1e-3), "weight_decay": Schedule(peak=0.0)}
    monitor = KeepReadings(every_n_steps=1, action="rewind")
    train(PixelBaseline(encoder, predictor, **rates), tmp_path, 6, [monitor])
    of_tokens = {name for name in QUANTITIES if not name.startswith(("loss", "encoder"))}
    assert [set(reading) for reading in monitor.readings] == [of_tokens] * 6
    assert monitor.judgement.verdict == Verdict.HEALTHY


def agreement_step(views: torch.Tensor) -> ClipStep:
    """A step in which only views are compared: nothing is hidden, nothing predicted."""
    clips = torch.zeros(views.shape[1], 3, 4, 8, 8)
    return ClipStep(
        number=0,
        clips=clips,
        grid=TokenGrid(2, 2, 2),
        masks=[],
        targets=None,
        whole_tokens=None,
        contexts=[],
        predictions=[],
        context_predictions=[],
        encode=lambda token_ids: views[0, :, None],
        views=views,
    )


def test_where_only_views_are_compared_they_are_watched_and_their_collapse_is_called():
    watch, generator = CollapseWatch(HealthLimits(window=2)), torch.Generator().manual_seed(0)
    for number in range(8):
        clip_part = torch.randn(1, 16, 24, generator=generator) * (1.0 if number < 4 else 1e-3)
        views = torch.randn(24, generator=generator) + clip_part + 0.1 * clip_part.flip(1).expand(4, -1, -1)
        values = token_health(agreement_step(views))
        assert set(values) == {f"view_{of}" for of in ("rank", "centred_rank", "std", "variance", "cosine")}
        judgement = watch.add(values)
        if number in (3, 7):
            assert judgement.verdict == (Verdict.HEALTHY if number == 3 else Verdict.COLLAPSED)
    assert "the variance of views between clips is" in judgement.reason


@pytest.mark.slow
def test_a_watched_run_is_bit_for_bit_the_run_without_it_also_when_resumed(tiny_recipe, capsys):
    runs = tiny_recipe.parent / "runs"
    keep = ("--trainer.max_steps=6", "--checkpoint.keep_every_n_steps=3", "--trainer.limit_val_batches=0")
    watching = (*keep, "--collapse_monitor.every_n_steps=1", "--pictures.every_n_steps=2", "--pictures.num_clips=2")
    watching = (*watching, "--collapse_monitor.action=rewind")
    main(["fit", "-c", str(tiny_recipe), "--name=without", *keep, "--collapse_monitor.every_n_steps=0"])
    main(["fit", "-c", str(tiny_recipe), "--name=with", *watching])
    said = capsys.readouterr().out
    halfway = runs / "with" / "version_0" / "checkpoints" / "step_3.ckpt"
    main(["fit", "-c", str(tiny_recipe), "--name=resumed", *watching, f"--ckpt_path={halfway}"])
    without, watched, resumed = (runs / name / "version_0" for name in ("without", "with", "resumed"))
    assert logged(watched, "train/loss") == logged(without, "train/loss")
    for other in (watched, resumed):
        for name, tensor in checkpoint(without)["state_dict"].items():
            assert torch.equal(checkpoint(other)["state_dict"][name], tensor), name
    # The watch itself, too: its window is in the checkpoint.
    assert logged(resumed, "health/verdict") == logged(watched, "health/verdict")[-2:] == [0.0, 0.0]
    assert logged(resumed, "health/target_rank") == logged(watched, "health/target_rank")[3:]
    assert "  healthy  elapsed" in said and "  health       healthy\n" in said


@pytest.mark.slow
def test_a_sick_run_is_told_from_a_healthy_one(tmp_path, capsys):
    sick, healthy = CollapseMonitor(every_n_steps=1), CollapseMonitor(every_n_steps=1)
    train(jepa(targets=OwnTokens()), tmp_path, 40, [sick])
    said = capsys.readouterr().out
    assert sick.judgement.verdict == Verdict.COLLAPSED
    assert "collapsed: the variance of targets between clips is" in said
    train(jepa(learning_rate=Schedule(peak=1e-3), momentum=Schedule(peak=0.99)), tmp_path, 40, [healthy])
    assert healthy.judgement.verdict == Verdict.HEALTHY
    assert capsys.readouterr().out == ""


def test_stop_ends_with_exit_code_3_and_a_sentence_and_keeps_checkpoints(tiny_recipe, capsys):
    often = ("--collapse_monitor.every_n_steps=2", "--checkpoint.every_n_steps=2", "--collapse_monitor.action=stop")
    with pytest.raises(SystemExit) as exit_:
        main(["fit", "-c", str(tiny_recipe), "--name=a", *often, *ALWAYS_SICK, *AT_ONCE])
    assert exit_.value.code == 3
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "vjepa: error: the run was stopped at step" in said and "collapsed: the variance of targets" in said
    folder = tiny_recipe.parent / "runs" / "a" / "version_0" / "checkpoints"
    stopped = torch.load(folder / "collapsed.ckpt", weights_only=True)["global_step"]
    assert f"at step {stopped}," in said and str(folder / "collapsed.ckpt") in said
    assert torch.load(folder / "last.ckpt", weights_only=True)["global_step"] == stopped - 1  # one step after a reading


def test_warn_says_it_once_and_goes_on(tiny_recipe, capsys):
    often = ("--collapse_monitor.every_n_steps=1", "--trainer.max_steps=8", "--trainer.limit_val_batches=0")
    sick = ("--collapse_monitor.limits.fraction_of_first=1.0", "--collapse_monitor.limits.max_cosine=-1")
    main(["fit", "-c", str(tiny_recipe), "--name=a", *often, *sick, "--collapse_monitor.limits.first_readings=1"])
    said = capsys.readouterr().out
    assert "Finished at step 8" in said
    folder = tiny_recipe.parent / "runs" / "a" / "version_0"
    assert set(logged(folder, "health/verdict")) <= {0.0, 3.0}


def test_rewind_brings_back_weights_and_optimizer_with_a_lower_learning_rate(tmp_path, capsys):
    note = NoteWeights()
    script = [Verdict.HEALTHY] * 6 + [Verdict.COLLAPSED] + [Verdict.HEALTHY] * 3
    monitor = ScriptedMonitor(script, action="rewind", learning_rate_factor=0.25)
    after = NoteWeights()
    module = jepa(learning_rate=Schedule(peak=1e-2, start=1e-2, end=1e-2))
    train(module, tmp_path, 10, [note, monitor, after])
    # Kept after every second healthy reading: at steps 2, 4 and 6, of which the last two are there at step 7.
    weights, optimizer, _ = after.notes[7]
    for name, tensor in note.notes[4][0].items():
        assert torch.equal(weights[name], tensor), name
    for number, state in note.notes[4][1].items():
        assert all(torch.equal(optimizer[number][name], value) for name, value in state.items())
    assert any(not torch.equal(note.notes[7][0][name], tensor) for name, tensor in weights.items())
    assert [note.notes[step][2] for step in (7, 8, 10)] == [pytest.approx(rate) for rate in (1e-2, 2.5e-3, 2.5e-3)]
    assert monitor.rewinds == 1
    assert "back to the weights of step 4, at 0.25 of the learning rate (rewind 1 of 3)" in capsys.readouterr().out


def test_rewinds_are_counted_and_then_the_run_stops(tmp_path):
    script = [Verdict.HEALTHY, Verdict.COLLAPSED, Verdict.COLLAPSED, Verdict.COLLAPSED, Verdict.HEALTHY]
    monitor = ScriptedMonitor(script, action="rewind", max_rewinds=2)
    module = jepa()
    with pytest.raises(CollapsedRunError, match=r"stopped at step 4 after 2 rewinds, collapsed: by the script"):
        train(module, tmp_path, 9, [monitor])
    assert module.learning_rate.peak == pytest.approx(1e-2 / 4)
    resumed, onward = jepa(), CollapseMonitor(action="rewind")
    onward.load_state_dict(monitor.state_dict())
    train(resumed, tmp_path, 1, [onward])
    assert resumed.learning_rate.peak == pytest.approx(1e-2 / 4)  # also in what is gone on with


def test_settings_that_can_not_be_meant_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"action 'panic' must be one of warn, stop, rewind"):
        CollapseMonitor(action="panic")
    with pytest.raises(ValueError, match=r"learning_rate_factor \(2\) must lie between 0 and 1"):
        CollapseMonitor(learning_rate_factor=2)
    with pytest.raises(ValueError, match=r"there is no file of health bands .*none.json; give --collapse_monitor"):
        train(jepa(), tmp_path, 1, [CollapseMonitor(bands=tmp_path / "none.json")])
