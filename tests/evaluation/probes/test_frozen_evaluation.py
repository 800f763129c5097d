"""Probes change nothing that they probe, agree whether features are kept or encoded anew, and say what they did."""

import csv
import math

import numpy as np
import pytest
import torch

from tests.tiny_clips import tiny_clips
from vjepa.data.atomic_file import write_table
from vjepa.data.clips.labelled_clips import LabelledClips
from vjepa.evaluation.probes.frozen_evaluation import CLASSES, FrozenEvaluation, Outcome, Setting, describe, scored
from vjepa.evaluation.probes.frozen_features import EncoderFeatures, FrozenFeatures, PixelFeatures
from vjepa.evaluation.probes.report import cell, hardest, print_tables
from vjepa.evaluation.probes.scores import Trial
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.models import VideoEncoder

SWEEP = Sweep(learning_rates=(1e-3, 1e-2), weight_decays=(0.1,), num_epochs=1, min_steps=3, batch_size=8, num_heads=2)


def encoder_features() -> EncoderFeatures:
    torch.manual_seed(0)
    return EncoderFeatures("encoder", VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 8, 8)))


class Evaluated:
    """An evaluation that has run, its results and what it said."""

    def __init__(self, clips: LabelledClips, rows: list[FrozenFeatures], folder, **settings):
        self.said: list[str] = []
        settings = {"sweep": SWEEP, "accelerator": "cpu"} | settings
        self.evaluation = FrozenEvaluation(clips, rows, cache=folder, report=self.said.append, **settings)
        self.results = self.evaluation.run()


class Restless(PixelFeatures):
    """What calls itself frozen, and counts the clips that it has seen."""

    def __init__(self):
        super().__init__("restless")
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, clips):
        self.seen += len(clips)
        return super().forward(clips)


def test_a_probe_does_not_change_what_it_probes(tiny_world, tmp_path):
    features = encoder_features()
    before = features.fingerprint()
    clips = tiny_clips(tiny_world)
    for gigabytes in (1.0, 0.0):
        Evaluated(clips, [features], tmp_path, cache_gigabytes=gigabytes)
        assert features.fingerprint() == before
        assert not features.training and not any(parameter.requires_grad for parameter in features.parameters())
        assert all(parameter.grad is None for parameter in features.parameters())


def test_features_that_change_while_they_are_probed_are_found_out(tiny_world, tmp_path):
    with pytest.raises(RuntimeError, match="a frozen network changed while it was probed"):
        Evaluated(tiny_clips(tiny_world), [Restless()], tmp_path)


def test_features_stay_in_evaluation_mode():
    features = encoder_features().train()
    assert not any(module.training for module in features.modules())


def test_streamed_evaluation_agrees_with_the_cached_one(tiny_world, tmp_path):
    clips = tiny_clips(tiny_world, crop_scale=(1.0, 1.0), crop_aspect_ratio=(1.0, 1.0))
    rows = [encoder_features(), PixelFeatures()]
    kept = Evaluated(clips, rows, tmp_path / "kept")
    streamed = Evaluated(clips, rows, tmp_path / "streamed", cache_gigabytes=1e-6)
    assert "kept in" in kept.said[0] and "clips are decoded and encoded anew in each pass" in streamed.said[0]
    assert list((tmp_path / "kept").rglob("*.safetensors")) and not list((tmp_path / "streamed").rglob("*"))
    assert [result[:5] for result in kept.results] == [result[:5] for result in streamed.results]
    # Nearest neighbours learn nothing, so that nothing but rounding may differ.
    for ours, theirs in zip(kept.results, streamed.results, strict=True):
        assert ours.scores.num_clips == theirs.scores.num_clips == 6
        if ours.probe == "kNN":
            assert ours.scores.confusion == theirs.scores.confusion and ours.chosen == theirs.chosen


def test_each_cell_is_there_once_and_repeats(tiny_world, tmp_path):
    rows = [encoder_features(), PixelFeatures()]
    settings = {"labels_per_class": [1, "all"], "seeds": [0, 1]}
    first = Evaluated(tiny_clips(tiny_world), rows, tmp_path, **settings)
    cells = [result[:5] for result in first.results]
    assert len(cells) == len(set(cells)) == 2 * 2 * 2 * 3
    assert {result.probe for result in first.results} == {"kNN", "linear", "attentive"}
    assert {result.task for result in first.results} == {CLASSES}
    again = Evaluated(tiny_clips(tiny_world), rows, tmp_path, **settings)
    assert [result[:8] for result in again.results] == [result[:8] for result in first.results]


def test_temporal_tasks_have_results_of_their_own(tiny_world, tmp_path, capsys):
    rows = [encoder_features(), PixelFeatures()]
    done = Evaluated(tiny_clips(tiny_world, segments=2), rows, tmp_path, temporal=["arrow", "order", "speed"])
    chances = {"arrow of time": 1 / 2, "frame order": 1 / 2, "speed": 1 / 3}
    for task, chance in chances.items():
        here = [result for result in done.results if result.task == task]
        assert [(result.features, result.probe) for result in here] == [
            (row.name, probe) for row in rows for probe in ("kNN", "linear", "attentive")
        ]
        for result in here:
            assert result.scores.chance == pytest.approx(chance) and result.scores.num_clips == 6
            assert [sum(of_class) for of_class in result.scores.confusion] == [6] * round(1 / chance)
    assert sum(result.task == CLASSES for result in done.results) == 6
    print_tables(done.results, "tiny")
    said = " ".join(capsys.readouterr().out.split())
    assert "arrow of time: accuracy in % on 6 test clips, chance 50.0" in said and "chance 33.3" in said
    assert "all labels: accuracy in % on 6 test clips, chance 8.3" in said
    assert "hardest by" in hardest(done.results, "encoder", "all")


def test_the_arrow_of_time_is_found_where_features_hold_it(tiny_world, tmp_path):
    class Clock(PixelFeatures):
        """How much of the last frame is brighter than the first."""

        def forward(self, clips):
            return (clips[:, :, -1] > clips[:, :, 0]).float().mean((2, 3)).unsqueeze(1)

    clips = tiny_clips(tiny_world)
    plain = clips.evaluation_batches

    def brightening(self, split, rows):
        ramp = torch.linspace(0.2, 1.0, self.frames.num_frames).view(1, 1, -1, 1, 1)
        for batch in plain(split, rows):
            yield batch._replace(clips=(batch.clips * ramp).byte())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LabelledClips, "evaluation_batches", brightening)
        sweep = Sweep(learning_rates=(0.1,), weight_decays=(0.01,), min_steps=20, num_heads=2)
        done = Evaluated(clips, [Clock("clock")], tmp_path, temporal=["arrow"], sweep=sweep)
    nearest, linear = (result for result in done.results if result.task != CLASSES and result.probe != "attentive")
    assert nearest.scores.top1 == linear.scores.top1 == 1.0 == nearest.val_accuracy


def test_temporal_tasks_are_never_streamed(tiny_world, tmp_path):
    evaluation = FrozenEvaluation(
        tiny_clips(tiny_world), [PixelFeatures()], SWEEP, cache=tmp_path, cache_gigabytes=1e-5, temporal=["speed"]
    )
    with pytest.raises(ValueError, match=r"features for temporal tasks take .* GB, more than .*; ask for fewer tasks"):
        evaluation.run()


def test_shuffled_labels_reach_every_probe(tiny_world, tmp_path):
    clips = tiny_clips(
        tiny_world, val_manifest=str(tiny_world / "train.csv"), test_manifest=str(tiny_world / "train.csv")
    )
    for shuffle in (False, True):
        done = Evaluated(clips, [PixelFeatures()], tmp_path, shuffle_labels=shuffle, temporal=["arrow"])
        for nearest in (result for result in done.results if result.probe == "kNN"):
            # Tested on its own bank, the nearest neighbour is right but for the labels.
            if not shuffle:
                assert nearest.scores.top1 == 1.0
            else:
                chance, samples = nearest.scores.chance, 26 / nearest.scores.chance if nearest.task != CLASSES else 26
                assert abs(nearest.scores.top1 - chance) < 4 * math.sqrt(chance * (1 - chance) / samples)


def test_a_class_that_one_group_alone_has_is_scored_as_missed_and_said(tiny_world, tmp_path):
    with (tiny_world / "train.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    label = rows[0]["label"]
    for number, row in enumerate(rows):
        row["scene"] = "first" if row["label"] == label else f"scene {number % 5}"
    write_table(tmp_path / "scenes.csv", list(rows[0]), rows)
    sources = {"train_manifest": str(tmp_path / "scenes.csv"), "val_manifest": None, "test_manifest": None}
    clips = tiny_clips(tiny_world, **sources, root=str(tiny_world), group="scene", folds=3)
    for gigabytes in (1.0, 0.0):
        done = Evaluated(clips, [PixelFeatures()], tmp_path / "features", cache_gigabytes=gigabytes)
        nearest = done.results[0]
        assert nearest.scores.per_class[label] == 0.0 and len(nearest.scores.per_class) >= 2
        assert any(f"are of classes that training lacks: '{label}'" in line for line in done.said)


def test_a_last_batch_of_a_single_file_does_no_harm(tiny_world, tmp_path):
    sweep = Sweep(("linear",), (1e-3,), (0.1,), num_epochs=2, min_steps=1, batch_size=25)
    done = Evaluated(tiny_clips(tiny_world), [PixelFeatures()], tmp_path, sweep=sweep)  # 26 files
    assert done.results[1].probe == "linear"


def test_files_that_cannot_be_read_are_known_at_the_end(tiny_world, tmp_path):
    (tmp_path / "broken.mp4").write_text("no video")
    lines = (tiny_world / "train.csv").read_text().splitlines()
    broken = str(tmp_path / "broken.mp4")
    listing = tmp_path / "train.csv"
    rows = [",".join(line.split(",")[:2]) for line in lines]
    listing.write_text("\n".join([*rows, f"{broken},{lines[1].split(',')[1]}"]) + "\n")
    for gigabytes in (1.0, 1.0, 0.0):
        clips = tiny_clips(tiny_world, train_manifest=str(listing), root=str(tiny_world))
        Evaluated(clips, [PixelFeatures()], tmp_path / "features", cache_gigabytes=gigabytes)
        assert list(clips.unreadable) == [broken]


@pytest.mark.parametrize("amount", [0, -3, 0.0])
def test_an_amount_of_labels_must_be_more_than_none(tiny_world, tmp_path, amount):
    with pytest.raises(ValueError, match="must be more than 0, or 'all'"):
        FrozenEvaluation(tiny_clips(tiny_world), [PixelFeatures()], labels_per_class=[amount], cache=tmp_path)


def test_rows_of_the_table_have_names_of_their_own(tiny_world, tmp_path):
    with pytest.raises(ValueError, match="two rows of features have one name"):
        FrozenEvaluation(tiny_clips(tiny_world), [PixelFeatures(), PixelFeatures(side=8)], cache=tmp_path)


def test_amounts_and_cells_in_words(tiny_world, tmp_path):
    assert describe(CLASSES, 20) == "20 labels per class" and describe(CLASSES, "all") == "all labels"
    assert describe(CLASSES, 0.005) == "0.5 % of the labels" and describe("speed", "all") == "speed"
    done = Evaluated(tiny_clips(tiny_world), [PixelFeatures()], tmp_path, seeds=[0, 1])
    linear = [result for result in done.results if result.probe == "linear"]
    low, high = linear[0].scores.interval
    assert cell(linear[:1]) == f"{100 * linear[0].scores.top1:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    accuracies = 100 * np.array([result.scores.top1 for result in linear])
    assert cell(linear) == f"{accuracies.mean():.1f} ± {accuracies.std(ddof=1):.1f}"


def test_folds_are_scored_as_one_test_set():
    def outcome(guessed: list[int], labels: list[int], chosen: str) -> Outcome:
        guesses = torch.nn.functional.one_hot(torch.tensor(guessed), 3).float()
        trial = Trial("linear", chosen, 0.5, guesses, torch.tensor(labels))
        return Outcome(Setting(CLASSES, ["a", "b", "c"], "all", np.arange(1), 0), "pixels", trial, 1.0)

    (result,) = scored([outcome([0, 1, 2], [0, 1, 1], "this"), outcome([2], [2], "that")])
    assert result.scores.num_clips == 4 and result.scores.top1 == 0.75
    assert result.scores.per_class == {"a": 1.0, "b": 0.5, "c": 1.0}
    assert result.chosen == "this; that" and result.seconds == 2.0
