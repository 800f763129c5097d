"""The online probe's promises: it says how good features are, keeps its budget, and the run does not notice it."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch.plugins.precision import Precision
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.integration.runs import checkpoint, logged, vjepa
from tests.quiet_trainer import quiet_trainer
from vjepa.cli.main import main
from vjepa.data.clips.evaluation_clips import SPLITS
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.probes.frozen_features import EncoderFeatures
from vjepa.evaluation.probes.probe import FeatureBatch, Probe
from vjepa.evaluation.probes.scores import accuracy
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.models import Predictor, VideoEncoder, frozen_copy
from vjepa.monitoring import OnlineProbe
from vjepa.monitoring.online_probe import train_heads
from vjepa.monitoring.probe_memory import HeldClips, LiveFeatures, evaluation_mode
from vjepa.training import JEPA

QUICK = {"learning_rates": (1e-3, 3e-3), "num_steps": 3}
HEADS = Sweep(heads=("attentive",), learning_rates=(1e-3, 3e-3), weight_decays=(0.0,))
RUN_TWO_STEPS = ("--trainer.max_steps=2", "--online_probe.every_n_steps=2")


@pytest.fixture
def labelled(tiny_world: Path) -> LabelledClips:
    return LabelledClips(**settings_of(tiny_world))


@pytest.fixture
def probed_recipe(tiny_recipe: Path, tiny_world: Path) -> Path:
    """The tiny recipe with an online probe."""
    recipe = yaml.safe_load(tiny_recipe.read_text())
    recipe["online_probe"] = {
        "data": settings_of(tiny_world),
        "every_n_steps": 2,
        "learning_rates": [1e-3],
        "num_steps": 2,
    }
    path = tiny_recipe.parent / "probed.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


def settings_of(world: Path, **others) -> dict:
    manifests = {f"{split}_manifest": str(world / f"{split}.csv") for split in SPLITS}
    clips = {"num_frames": 4, "frame_step": 2.0, "crop_size": [32, 32], "batch_size": 8, "num_workers": 0}
    return manifests | clips | others


def jepa() -> JEPA:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, tubelet=(2, 8, 8))
    return JEPA(encoder, Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2))


def probe_once(callback: OnlineProbe, module: JEPA, folder: Path) -> dict[str, float]:
    trainer = quiet_trainer(folder)
    callback.on_train_start(trainer, module)
    callback.on_train_end(trainer, module)
    return callback.last


def random_states() -> tuple[list[int], list[int], tuple]:
    return torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()


@pytest.mark.slow
def test_a_probed_run_is_bit_for_bit_the_run_without_it_also_when_resumed(tiny_recipe, probed_recipe):
    runs = tiny_recipe.parent / "runs"
    keep = ("--trainer.max_steps=5", "--checkpoint.keep_every_n_steps=2", "--online_probe.encoder=context")
    main(["fit", "-c", str(tiny_recipe), "--name=without", *keep])
    after_without = random_states()
    main(["fit", "-c", str(probed_recipe), "--name=with", *keep])
    assert random_states() == after_without
    halfway = runs / "with" / "version_0" / "checkpoints" / "step_2.ckpt"
    main(["fit", "-c", str(probed_recipe), "--name=resumed", *keep, f"--ckpt_path={halfway}"])

    without, probed, resumed = (runs / name / "version_0" for name in ("without", "with", "resumed"))
    losses = logged(without, "train/loss")
    assert len(losses) == 5
    assert logged(probed, "train/loss") == losses
    assert logged(resumed, "train/loss") == losses[2:]
    weights = checkpoint(without)["state_dict"]
    for other in (probed, resumed):
        assert all(torch.equal(tensor, weights[name]) for name, tensor in checkpoint(other)["state_dict"].items())
    for name in ("probe/knn", "probe/attentive"):  # the same scores, too, from the step on that is gone on from
        assert logged(resumed, name) == logged(probed, name)[1:]


def test_a_run_has_curves_from_random_weights_to_the_end_and_its_last_words_tell(probed_recipe, capsys):
    arguments = ["fit", "-c", str(probed_recipe), "--name=a", "--trainer.max_steps=5"]
    main([*arguments, "--trainer.accumulate_grad_batches=2"])
    events = EventAccumulator(str(probed_recipe.parent / "runs" / "a" / "version_0"))
    events.Reload()
    for name in ("probe/knn", "probe/attentive", "probe/seconds"):
        assert [event.step for event in events.Scalars(name)] == [0, 2, 4, 5], name
    said = capsys.readouterr().out
    assert "online probe: 38 labelled files decoded in" in said
    assert "online probe at step 0: knn " in said and "on 6 test files" in said
    first, last = (events.Scalars("probe/attentive")[place].value for place in (0, -1))
    assert f"attentive {first:.1%} -> {last:.1%}" in said.partition("Finished at step 5")[2]


@pytest.mark.slow
def test_data_may_be_given_by_flags_and_without_them_nothing_is_probed(tiny_recipe, tiny_world, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=a", *RUN_TWO_STEPS])
    assert "online probe" not in capsys.readouterr().out
    flags = [f"--online_probe.data.{name}={json.dumps(value)}" for name, value in settings_of(tiny_world).items()]
    flags = [flag.replace('"', "") for flag in flags]
    main(["fit", "-c", str(tiny_recipe), "--name=b", *RUN_TWO_STEPS, *flags, "--online_probe.num_steps=1"])
    assert "online probe at step 2" in capsys.readouterr().out
    main(["fit", "-c", str(tiny_recipe), "--name=c", *RUN_TWO_STEPS, *flags, "--online_probe.every_n_steps=0"])
    assert "online probe" not in capsys.readouterr().out


@pytest.mark.slow
def test_two_ranks_do_not_wait_for_each_other_for_ever(probed_recipe):
    ddp = ("--trainer.devices=2", "--trainer.strategy=ddp", "--trainer.max_steps=3")
    run = vjepa("fit", "-c", probed_recipe, "--name=two", *ddp, ranks=2)
    assert run.returncode == 0, run.stderr
    assert run.stdout.count("online probe at step") == 3


def test_nothing_is_left_behind(labelled, tmp_path):
    module = jepa().train()
    module.context_encoder.blocks[0].eval()  # a mixture of modes
    weights = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    modes = [part.training for part in module.modules()]
    wants_gradient = [parameter.requires_grad for parameter in module.parameters()]
    states = random_states()
    probe_once(OnlineProbe(labelled, encoder="context", **QUICK), module, tmp_path)
    assert random_states() == states
    assert all(torch.equal(tensor, weights[name]) for name, tensor in module.state_dict().items())
    assert [part.training for part in module.modules()] == modes
    assert [parameter.requires_grad for parameter in module.parameters()] == wants_gradient
    assert all(parameter.grad is None for parameter in module.parameters())


def test_scores_follow_from_weights_and_data_alone(labelled, tmp_path):
    scores = []
    for _ in range(2):
        torch.rand(7)
        scores.append(probe_once(OnlineProbe(labelled, **QUICK), jepa(), tmp_path))
    assert scores[0] == scores[1]


def test_the_encoder_that_is_asked_for_is_probed(labelled, tmp_path):
    module = jepa()
    for parameter in module.target_encoder.parameters():
        parameter.data.zero_()
    blind, seeing = (
        probe_once(OnlineProbe(labelled, encoder=encoder, **QUICK), module, tmp_path)
        for encoder in ("target", "context")
    )
    counts = np.bincount(labelled.manifests["test"].labels) / len(labelled.manifests["test"])
    assert any(blind["attentive"] == pytest.approx(share, abs=1e-6) for share in [0, *counts])  # one class for all
    assert blind != seeing


def test_live_features_are_those_of_a_frozen_copy_and_no_listener_hears_of_them():
    encoder = jepa().context_encoder
    heard = []
    encoder.register_forward_hook(lambda *_: heard.append(1))
    clips = torch.randint(0, 255, (5, 3, 4, 32, 32), dtype=torch.uint8)
    frozen = EncoderFeatures("copy", frozen_copy(jepa().context_encoder))
    tokens, seconds = LiveFeatures(encoder, Precision()).encode(clips, 2, torch.device("cpu"))
    torch.testing.assert_close(tokens, frozen(clips).half(), atol=1e-3, rtol=1e-3)
    assert seconds > 0 and not heard


def test_modes_come_back_also_after_an_error():
    network = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.Dropout().eval())
    with pytest.raises(KeyError), evaluation_mode(network):
        assert not any(part.training for part in network.modules())
        raise KeyError
    assert [part.training for part in network.modules()] == [True, True, False]


def test_several_segments_and_views_of_a_file_count_as_one(tiny_world, tmp_path):
    data = LabelledClips(**settings_of(tiny_world, segments=2, views=3, train_segments=2, batch_size=12))
    callback = OnlineProbe(data, num_test_clips=4, **QUICK)
    scores = probe_once(callback, jepa(), tmp_path)
    assert callback._held["test"].clips.shape == (4, 6, 3, 4, 32, 32)
    assert all(score * 4 == pytest.approx(round(score * 4)) for score in scores.values())


def test_only_so_many_labels_are_taken_and_fewer_of_the_same_where_time_is_short(labelled, tmp_path):
    callback = OnlineProbe(labelled, labels_per_class=2, num_val_clips=4, num_test_clips=5, **QUICK)
    probe_once(callback, jepa(), tmp_path)
    of_class = np.bincount(labelled.manifests["train"].labels)
    num_train = [np.minimum(of_class, 2).sum(), (of_class > 0).sum(), (of_class > 0).sum()]
    assert [callback._halvings(limit) for limit in (1000, num_train[1] + 4, 0)] == [0, 1, 2]
    for split, counts in {"train": num_train, "val": [4, 2, 1], "test": [5, 2, 1]}.items():
        rows = [set(callback._held[split].halved(halvings).rows.tolist()) for halvings in range(3)]
        assert [len(each) for each in rows] == counts
        assert rows[2] <= rows[1] <= rows[0]


def test_a_slow_encoder_sees_fewer_clips_the_next_time_and_says_so(labelled, tmp_path, capsys):
    callback = OnlineProbe(labelled, budget_seconds=30, **QUICK)
    probe_once(callback, jepa(), tmp_path)
    assert "the budget allowed" not in capsys.readouterr().out
    callback._seconds_per_clip, callback._probed_step = 1.0, None  # 18 clips in 60 % of the budget
    callback.on_train_end(quiet_trainer(tmp_path), jepa())
    num_train = len(labelled.labelled_rows(1))
    assert f"; the budget allowed {num_train + 2 * 3} of 38 files" in capsys.readouterr().out
    assert callback._seconds_per_clip < 1.0


def test_heads_learn_what_can_be_told():
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randn(32, 1, 6, 16, generator=generator)
    labels = torch.arange(32) % 2
    tokens[..., :8] += 2.0 * (2 * labels - 1)[:, None, None, None]  # half of the channels: all would be normed away
    batch = FeatureBatch(tokens, tokens.mean(2), labels)
    torch.manual_seed(0)
    probe = Probe(HEADS, 16, 16, 2, num_steps=100)
    assert train_heads(probe, [batch] * 101, seconds=600) == 100
    assert [accuracy(guesses, labels) for guesses in probe.guesses([batch])[0]] == [1.0, 1.0]


def test_learning_ends_when_its_time_is_up_with_falling_rates(monkeypatch):
    clock = iter(range(100))
    monkeypatch.setattr("vjepa.monitoring.online_probe.time.monotonic", lambda: next(clock))
    rates = []

    class NotedProbe(Probe):
        def training_step(self, batch, batch_idx):
            rates.append(next(group["lr"] for group in optimizers[0].param_groups))
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            optimizers.append(super().configure_optimizers()["optimizer"])
            return {"optimizer": optimizers[0]}

    optimizers: list[torch.optim.Optimizer] = []
    batch = FeatureBatch(torch.randn(4, 1, 3, 8), torch.randn(4, 1, 8), torch.zeros(4, dtype=torch.int64))
    assert train_heads(NotedProbe(HEADS, 8, 8, 2, num_steps=60), [batch] * 60, seconds=6) == 5
    assert rates == sorted(rates, reverse=True) and rates[-1] < 0.1 * rates[0]


def test_files_that_can_not_be_read_are_left_out_and_named(tiny_world, tmp_path, capsys):
    lines = (tiny_world / "test.csv").read_text().splitlines()
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    first = lines[1].split(",")
    manifest = tmp_path / "test.csv"
    manifest.write_text("\n".join(["path,label", f"{broken},{first[1]}", *_paths_and_labels(lines[1:], tiny_world)]))
    data = LabelledClips(**settings_of(tiny_world) | {"test_manifest": str(manifest)})
    callback = OnlineProbe(data, **QUICK)
    probe_once(callback, jepa(), tmp_path)
    assert len(callback._held["test"].labels) == len(lines) - 1
    said = capsys.readouterr().out
    assert f"1 labelled files could not be read and are left out, the first: {broken} (" in said


def _paths_and_labels(lines: list[str], folder: Path) -> list[str]:
    return [f"{folder / line.split(',')[0]},{line.split(',')[1]}" for line in lines]


def test_held_clips_are_not_copied_where_all_are_wanted():
    clips = torch.zeros(3, 1, 3, 2, 4, 4, dtype=torch.uint8)
    held = HeldClips(clips, torch.arange(3), torch.tensor([1, 4, 6]), ranks=torch.tensor([1, 0, 2]))
    assert held.halved(0) is held
    assert held.halved(1).rows.tolist() == [4]


def test_what_does_not_fit_into_memory_is_refused_with_a_way_out(labelled, tmp_path):
    callback = OnlineProbe(labelled, memory_gigabytes=3e-4)
    with pytest.raises(
        ValueError, match=r"the 38 clips .* more than memory_gigabytes \(0.0003\); try labels_per_class"
    ):
        probe_once(callback, jepa(), tmp_path)
    with pytest.raises(ValueError, match="try fewer num_test_clips, or smaller clips"):
        probe_once(OnlineProbe(labelled, memory_gigabytes=1e-6), jepa(), tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"every_n_steps": -1}, r"every_n_steps \(-1\) must be at least 1, or 0 for no online probe"),
        ({"budget_seconds": 0.0}, r"budget_seconds \(0.0\) must be above 0; try 30"),
        ({"labels_per_class": 0}, r"labels_per_class \(0\) must be at least 1"),
        ({"learning_rates": ()}, r"there are no learning_rates to train with; give at least one, such as \[1e-3\]"),
        ({"num_test_clips": 0}, r"num_test_clips \(0\) must be at least 1"),
    ],
)
def test_settings_without_sense_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        OnlineProbe(**settings)
