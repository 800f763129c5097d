"""The verdict on made-up curves: each illness by its name and in time, and none where there is none."""

import json
import math
import random

import pytest

from vjepa.monitoring.health.collapse_watch import CollapseWatch, HealthLimits, Verdict

NUM_READINGS = 60  # of a run of 1500 steps at the default interval
HEALTHY = {
    "target_variance": 0.9,
    "target_cosine": 0.1,
    "target_rank": 70.0,
    "context_rank": 60.0,
    "target_std": 0.9,
    "context_std": 0.8,
    "encoder_distance": 0.1,
}


def curves(noise: float = 0.1, **changed) -> list[dict[str, float]]:
    """Readings of a whole run: healthy ones with noise, times what each function says of the share that is done."""
    draw = random.Random(0)
    return [
        {
            name: value * changed.get(name, lambda share: 1.0)(number / NUM_READINGS) * math.exp(draw.gauss(0, noise))
            for name, value in HEALTHY.items()
        }
        for number in range(NUM_READINGS)
    ]


def verdicts(readings: list[dict[str, float]], **limits) -> list[Verdict | None]:
    watch = CollapseWatch(HealthLimits(**limits))
    judgements = [watch.add(reading) for reading in readings]
    return [None if judgement is None else judgement.verdict for judgement in judgements]


def falling_to(last: float, after: float = 0.0, within: float = 0.05):
    """1 at first, then down to `last` by a power law between two shares of the run."""
    return lambda share: last ** min(1.0, max(0.0, (share - after) / within))


def first_share(found: list[Verdict | None], verdict: Verdict) -> float:
    return found.index(verdict) / NUM_READINGS


def test_a_healthy_run_is_never_called_anything_else():
    found = verdicts(curves(noise=0.15))
    assert found[:4] == [None] * 4  # a window is not yet full
    assert set(found[4:]) == {Verdict.HEALTHY}


def test_numbers_that_are_low_from_the_start_are_the_runs_own():
    low = [
        reading | {"target_variance": 0.01, "target_cosine": 0.99, "target_rank": 2.0, "context_rank": 2.0}
        for reading in curves()
    ]
    assert set(verdicts(low)[4:]) == {Verdict.HEALTHY}


def test_healthy_runs_may_lose_rank_and_scale():
    found = verdicts(
        curves(
            context_rank=falling_to(0.5, within=0.2),
            context_std=falling_to(0.75, within=0.5),
            target_variance=falling_to(0.4, within=0.8),
            encoder_distance=lambda share: 2 - share,
        )
    )
    assert set(found[4:]) == {Verdict.HEALTHY}


@pytest.mark.parametrize(
    "sick",
    [
        {"target_variance": falling_to(0.01)},
        {"target_cosine": lambda share: 9.9 if share > 0.05 else 1.0},
        {"target_rank": falling_to(0.02)},
        {"context_rank": falling_to(0.02)},
    ],
    ids=["variance", "cosine", "rank of targets", "rank of context"],
)
@pytest.mark.parametrize("noise", [0.0, 0.15])
def test_collapse_is_noticed_within_a_fifth_of_the_run(sick, noise):
    readings = [{**reading, "target_cosine": min(reading["target_cosine"], 0.999)} for reading in curves(noise, **sick)]
    found = verdicts(readings)
    assert first_share(found, Verdict.COLLAPSED) < 0.2
    assert found[-1] == Verdict.COLLAPSED


def test_collapse_late_in_a_run_is_noticed_within_a_fifth_of_it():
    found = verdicts(curves(target_variance=falling_to(0.01, after=0.6)))
    assert 0.6 < first_share(found, Verdict.COLLAPSED) < 0.8
    assert set(found[4:36]) == {Verdict.HEALTHY}


@pytest.mark.parametrize("name", ["target_std", "context_std"])
def test_a_falling_scale_is_shrinking(name):
    found = verdicts(curves(**{name: falling_to(0.2, after=0.3, within=0.1)}))
    assert 0.3 < first_share(found, Verdict.SHRINKING) < 0.5
    assert Verdict.COLLAPSED not in found


def test_a_target_encoder_that_falls_ever_further_behind_is_a_lagging_teacher():
    found = verdicts(curves(encoder_distance=lambda share: 20 * share))
    assert 0.2 < first_share(found, Verdict.TEACHER_LAGGING) < 0.5
    far_but_catching_up = verdicts(curves(noise=0.0, encoder_distance=lambda share: 9 - 4 * share))
    assert Verdict.TEACHER_LAGGING not in far_but_catching_up


def test_the_worst_illness_is_named():
    found = verdicts(curves(target_variance=falling_to(0.01, within=0.3), target_std=falling_to(0.01, within=0.3)))
    assert Verdict.SHRINKING in found and found[-1] == Verdict.COLLAPSED


@pytest.mark.parametrize("odd", [{"target_variance": 1e-6, "target_rank": 1.0, "target_std": 1e-6}, math.nan])
def test_one_odd_step_and_two_in_a_row_say_nothing(odd):
    readings = curves()
    for number in (10, 25, 26):
        readings[number] = dict.fromkeys(HEALTHY, odd) if odd is math.nan else readings[number] | odd
    assert set(verdicts(readings)[4:]) == {Verdict.HEALTHY}


def test_embeddings_that_are_no_longer_finite_have_collapsed():
    readings = [*curves()[:20], *[dict.fromkeys(HEALTHY, math.nan)] * 20]
    assert first_share(verdicts(readings), Verdict.COLLAPSED) == 22 / NUM_READINGS


def test_clips_that_can_not_be_told_apart_at_all_have_collapsed_however_the_run_began():
    assert verdicts([reading | {"target_variance": 1e-5} for reading in curves()])[4] == Verdict.COLLAPSED


def test_quantities_that_a_run_does_not_have_say_nothing():
    few = [{"target_std": reading["target_std"]} for reading in curves()]
    assert set(verdicts(few)[4:]) == {Verdict.HEALTHY}
    assert set(verdicts([{}] * 9)[4:]) == {Verdict.HEALTHY}
    later = [{}, {}, {}, *curves()[3:]]  # not among the first readings: there is nothing to compare with
    assert set(verdicts(later)[4:]) == {Verdict.HEALTHY}


def test_limits_are_settings():
    readings = curves(target_variance=falling_to(0.5))
    assert Verdict.COLLAPSED not in verdicts(readings)
    assert Verdict.COLLAPSED in verdicts(readings, min_variance=0.6, fraction_of_first=0.7)
    with pytest.raises(ValueError, match=r"window \(0\) of the health limits must be at least 1"):
        HealthLimits(window=0)
    with pytest.raises(ValueError, match=r"fraction_of_first \(3\) .* must lie between 0 and 1; 0 turns it off"):
        HealthLimits(fraction_of_first=3)


def test_a_watch_that_goes_on_judges_as_the_one_that_was_not_interrupted():
    readings = curves(target_variance=falling_to(0.01, after=0.3))
    watch = CollapseWatch(HealthLimits())
    for reading in readings[:20]:
        watch.add(reading)
    resumed = CollapseWatch(HealthLimits())
    resumed.load_state_dict(json.loads(json.dumps(watch.state_dict())))
    assert resumed.judgement == watch.judgement
    for reading in readings[20:]:
        assert resumed.add(reading) == watch.add(reading)
    assert watch.judgement.verdict == Verdict.COLLAPSED


def test_the_reason_names_the_quantity_its_value_and_its_start():
    watch = CollapseWatch(HealthLimits())
    for reading in curves(noise=0.0, target_variance=falling_to(0.01)):
        watch.add(reading)
    assert watch.judgement.reason == "the variance of targets between clips is 0.009, it was 0.9"
