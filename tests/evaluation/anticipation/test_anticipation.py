"""Anticipation: the future's token ids, the focal loss, class-mean recall@5, and the whole command in miniature."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from tests.tiny_kitchens import tiny_actions, write_kitchens
from vjepa.cli.main import main
from vjepa.data.clips.batch import normalize_clips
from vjepa.evaluation.anticipation.anticipation import AnticipationEvaluation
from vjepa.evaluation.anticipation.class_mean_recall import ClassMeanRecall
from vjepa.evaluation.anticipation.features import AnticipationFeatures, future_mask
from vjepa.evaluation.anticipation.probe import AnticipationProbe, TokenBatch
from vjepa.evaluation.probes.sweep import Sweep
from vjepa.grid import TokenGrid
from vjepa.masking import TubeMask
from vjepa.models import Predictor, VideoEncoder
from vjepa.objectives.sigmoid_focal import sigmoid_focal_loss

SWEEP = Sweep(heads=("attentive",), learning_rates=(1e-3, 3e-3), weight_decays=(0.01,), num_epochs=1, min_steps=2)


@pytest.fixture(scope="module")
def kitchens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_kitchens(tmp_path_factory.mktemp("kitchens"))


def networks(position: str = "rotary") -> tuple[VideoEncoder, Predictor]:
    torch.manual_seed(0)
    encoder = VideoEncoder(embed_dim=24, depth=2, num_heads=2, tubelet=(2, 8, 8), position=position)
    predictor = Predictor(24, embed_dim=24, depth=2, num_heads=2, position=position, zero_init_mask_tokens=False)
    return encoder, predictor


def random_clips(count: int) -> torch.Tensor:
    return torch.randint(256, (count, 3, 4, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


# --- the future


def test_future_ids_are_those_of_the_released_protocol():
    grid = TokenGrid(16, 16, 16)  # 32 frames of 256 x 256 pixels
    mask, longer = future_mask(grid, torch.tensor([1.0, 0.25, 1.75]), fps=8.0, tubelet_length=2)
    assert mask.context_ids.shape == (3, 4096) and (mask.context_ids == torch.arange(4096)).all()
    # N + grid^2 * int(time * fps / 2) onward; one second later begins the action itself.
    assert mask.target_ids[:, 0].tolist() == [4096 + 256 * 4, 4096 + 256 * 1, 4096 + 256 * 7]
    assert (mask.target_ids - mask.target_ids[:, :1] == torch.arange(256)).all()
    assert longer == TokenGrid(24, 16, 16)
    assert longer.positions(mask.target_ids)[0, 0].tolist() == [20, 0, 0]


def test_several_future_tubelets_follow_each_other():
    mask, longer = future_mask(TokenGrid(2, 3, 5), torch.tensor([0.0]), fps=8.0, tubelet_length=2, num_predicted=2)
    assert mask.target_ids.tolist() == [list(range(30, 60))]
    assert longer == TokenGrid(4, 3, 5)


@pytest.mark.parametrize("position", ["rotary", "rotary_tiled", "sincos"])
def test_features_are_the_encoder_s_tokens_and_then_the_predicted_ones(position):
    encoder, predictor = networks(position)
    clips, seconds = random_clips(2), torch.tensor([1.0, 0.25])
    features = AnticipationFeatures("both", encoder, predictor, fps=8.0)(clips, seconds)
    tokens = encoder(normalize_clips(clips))
    assert features.shape == (2, 32 + 16, 24)
    assert torch.equal(features[:, :32], tokens)
    for clip, skipped in enumerate((4, 1)):  # each by itself, on a grid of just its own length
        ids = torch.arange(16).unsqueeze(0) + 32 + 16 * skipped
        mask = TubeMask(torch.arange(32).unsqueeze(0), ids)
        alone = predictor(tokens[clip : clip + 1], mask, TokenGrid(2 + skipped + 1, 4, 4))
        torch.testing.assert_close(features[clip : clip + 1, 32:], alone, atol=1e-5, rtol=1e-4)


def test_another_time_is_another_future():
    features = AnticipationFeatures("both", *networks(), fps=8.0)
    near, far = (features(random_clips(1), torch.tensor([seconds]))[:, 32:] for seconds in (0.25, 1.5))
    assert not torch.allclose(near, far)


def test_without_a_predictor_only_the_clip_speaks():
    encoder, _ = networks()
    features = AnticipationFeatures("encoder", encoder, None, fps=8.0)
    assert torch.equal(features(random_clips(2), torch.ones(2)), encoder(normalize_clips(random_clips(2))))


def test_positions_that_would_be_stretched_are_refused():
    encoder, _ = networks()
    predictor = Predictor(24, embed_dim=24, depth=1, num_heads=2, position="sincos", position_grid=(2, 4, 4))
    with pytest.raises(ValueError, match="anticipate with rotary positions, or from the encoder alone"):
        AnticipationFeatures("both", encoder, predictor, fps=8.0)


# --- the loss


def test_focal_loss_of_a_hand_computed_case():
    scores = torch.tensor([[0.0, math.log(3.0)]])  # probabilities 1/2 and 3/4; the first class is right
    right = 0.25 * (1 / 2) ** 2 * math.log(2)
    wrong = 0.75 * (3 / 4) ** 2 * math.log(4)
    assert float(sigmoid_focal_loss(scores, torch.tensor([0]))) == pytest.approx(right + wrong)


def test_focal_loss_sums_over_clips_and_classes_and_without_focus_is_cross_entropy():
    scores, labels = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 6, 3, 3, 1])
    plain = F.binary_cross_entropy_with_logits(scores, F.one_hot(labels, 7).float(), reduction="sum")
    torch.testing.assert_close(sigmoid_focal_loss(scores, labels, alpha=0.5, gamma=0.0), plain / 2)


def test_focal_loss_of_extreme_scores_is_finite():
    scores = torch.tensor([[200.0, -200.0]], requires_grad=True)
    sigmoid_focal_loss(scores, torch.tensor([1])).backward()
    assert scores.grad.isfinite().all()


# --- the measure


def best_five(*classes: int, of: int = 8) -> list[float]:
    return [1.0 if number in classes else 0.0 for number in range(of)]


def test_class_mean_recall_of_a_hand_computed_case():
    metric = ClassMeanRecall(num_scored=8, num_classes=8)
    scores = [
        best_five(0, 1, 2, 3, 4),  # class 0: found
        best_five(3, 4, 5, 6, 7),  # class 0: not found
        best_five(0, 1, 2, 3, 4),  # class 1: found
        best_five(0, 3, 4, 5, 6),  # class 2: not found
    ]
    metric.update(torch.tensor(scores), torch.tensor([0, 0, 1, 2]))
    # Classes 3 to 7 do not occur among the labels: that they were guessed costs nothing.
    assert float(metric.compute()) == pytest.approx((1 / 2 + 1 + 0) / 3)


def test_rare_classes_count_as_much_as_frequent_ones_over_all_batches():
    metric = ClassMeanRecall(num_scored=8, num_classes=8)
    for _ in range(9):
        metric.update(torch.tensor([best_five(0, 1, 2, 3, 4)]), torch.tensor([0]))
    metric.update(torch.tensor([best_five(0, 1, 2, 3, 4)]), torch.tensor([7]))
    assert float(metric.compute()) == 0.5


def test_a_class_that_training_never_showed_counts_as_wrong():
    metric = ClassMeanRecall(num_scored=3, num_classes=5)  # fewer classes than guesses
    metric.update(torch.zeros(4, 3), torch.tensor([0, 1, 3, 4]))
    assert float(metric.compute()) == 0.5


# --- training, choice, test


def probe(sweep: Sweep = SWEEP) -> AnticipationProbe:
    torch.manual_seed(0)
    return AnticipationProbe(sweep, width=24, num_classes=[3, 2, 4], num_steps=2)


def test_a_head_answers_three_questions_with_a_query_each():
    head = probe().heads[0]
    assert head.queries.shape == (1, 3, 24)
    assert [scores.shape for scores in head(torch.randn(5, 7, 24))] == [(5, 3), (5, 2), (5, 4)]


def test_the_loss_is_the_sum_over_heads_and_tasks():
    one = probe()
    batch = TokenBatch(torch.randn(5, 7, 24), torch.stack([torch.arange(5) % count for count in (3, 2, 4)], dim=1))
    expected = sum(
        sigmoid_focal_loss(scores, batch.labels[:, task])
        for head in one.heads
        for task, scores in enumerate(head(batch.tokens))
    )
    torch.testing.assert_close(one.training_step(batch, 0), expected)


def test_a_linear_head_is_refused():
    with pytest.raises(ValueError, match="no queries for verb, noun and action"):
        probe(Sweep(heads=("linear",)))


def test_validation_chooses_the_head_and_test_sees_only_that_one(kitchens, monkeypatch):
    clips = tiny_actions(kitchens)
    asked = []

    def recalls(self, source, all_classes, chosen=None):
        asked.append(chosen)
        # The first head is better in verbs and nouns, the second in actions.
        return [[0.9, 0.9, 0.1], [0.2, 0.2, 0.3]] if chosen is None else [[0.5, 0.5, 0.5]]

    monkeypatch.setattr(AnticipationProbe, "recalls", recalls)
    rows = [AnticipationFeatures("both", *networks(), fps=8.0)]
    result, _ = AnticipationEvaluation(clips, rows, SWEEP, accelerator="cpu", report=lambda line: None).run()
    assert asked == [None, [1]]
    assert result.chosen == "attentive, learning rate 0.003, weight decay 0.01"
    assert result.val_recall["action"] == 0.3 and result.recall == {"verb": 0.5, "noun": 0.5, "action": 0.5}


def test_encoder_and_predictor_stay_as_they_were(kitchens):
    features = AnticipationFeatures("both", *networks(), fps=8.0)
    before = {name: value.clone() for name, value in features.state_dict().items()}
    AnticipationEvaluation(tiny_actions(kitchens), [features], SWEEP, accelerator="cpu", report=lambda line: None).run()
    assert all(torch.equal(before[name], value) for name, value in features.state_dict().items())


def test_what_is_told_by_frequency_stands_in_the_last_row(kitchens):
    clips = tiny_actions(kitchens)
    *_, frequent = AnticipationEvaluation(clips, [], SWEEP, accelerator="cpu", report=lambda line: None).run()
    # Fewer than six classes: all that training has are among the five, and the pair that it lacks is not.
    assert frequent.recall == {"verb": 1.0, "noun": 1.0, "action": pytest.approx(3 / 4)}


# --- the command


@pytest.mark.slow
def test_the_command_runs_from_checkpoint_to_table(tiny_recipe, kitchens, capsys):
    main(["fit", "-c", str(tiny_recipe), "--name=short", "--trainer.max_steps=2", "--data.val_manifest=null"])
    runs = tiny_recipe.parent / "runs"
    arguments = [f"--data.train_manifest={kitchens}", "--data.train_split=train", "--data.test_split=test"]
    arguments += ["--data.group=participant", "--data.num_frames=4", "--data.crop_size=[32, 32]"]
    arguments += ["--data.num_workers=0", "--data.batch_size=4", f"--runs={runs}", "--accelerator=cpu"]
    sweep = ["--sweep.heads=[attentive_4]", "--sweep.learning_rates=[1e-3, 1e-4]", "--sweep.weight_decays=[0.1]"]
    sweep += ["--sweep.num_epochs=1", "--sweep.min_steps=2", "--sweep.batch_size=4", "--sweep.accumulate_batches=2"]
    sweep += ["--sweep.activation_checkpointing=true", "--sweep.precision=bf16-mixed"]
    main(["anticipate", *arguments, *sweep])

    folder = runs / "short" / "version_0" / "anticipation"
    found = json.loads((folder / "results.json").read_text())
    assert found["step"] == 2 and found["test_actions"] == 5
    names = [result["features"] for result in found["results"]]
    assert names == ["encoder and predictor", "encoder alone", "random weights", "most frequent classes"]
    for result in found["results"]:
        assert set(result["recall"]) == {"verb", "noun", "action"}
        assert all(0 <= value <= 1 for value in result["recall"].values())
        assert result["recall"]["action"] <= 0.75, "the pair that training lacks is one of four actions"
    lines = (folder / "results.csv").read_text().splitlines()
    assert lines[0] == "features,task,recall@5,val,chosen" and len(lines) == 1 + 4 * 3
    shown = capsys.readouterr().out
    assert "actions: 3 in training, 4 in 5 test actions, of which 1 have a class that training lacks" in shown
    assert "class-mean recall@5" in shown


def test_a_mistyped_key_is_refused_by_name(capsys):
    with pytest.raises(SystemExit):
        main(["anticipate", "--data.train_manifest=x.csv", "--data.anticipation_second=2"])
    assert "did you mean 'data.anticipation_seconds'?" in capsys.readouterr().err
