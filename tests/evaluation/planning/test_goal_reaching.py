"""Closed-loop evaluation: who reaches goals, how that is counted, and what is written about it."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.evaluation.planning.tiny_plane import SIZE, PerfectModel, Plane
from vjepa.data.video.facts import scan_video
from vjepa.envs.two_rooms import TwoRooms
from vjepa.envs.world import Tasks
from vjepa.evaluation.planning.behaviour_cloning import Cloning, clone_behaviour
from vjepa.evaluation.planning.goal_reaching import Evaluation, Outcomes, evaluate, replay, require_fitting
from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.evaluation.planning.oracle import OraclePolicy, simulated
from vjepa.evaluation.planning.pictures import draw_energy, draw_paths, first_imagined, write_film
from vjepa.evaluation.planning.read_out import fit_read_out
from vjepa.evaluation.planning.report import manifest_of, print_tables, result_of, write_report
from vjepa.evaluation.planning.scores import path_efficiency, scored, wilson
from vjepa.planning.cross_entropy import CrossEntropyMethod

PLANNER = CrossEntropyMethod(horizon=6, samples=48, elites=6, iterations=4)


class Scripted:
    """Does the same actions in every episode."""

    def __init__(self, actions: list[list[float]]):
        self.actions = actions

    def begin(self, suite, tasks: Tasks) -> None:
        self.step, self.count = 0, len(tasks.seeds)

    def act(self, world) -> np.ndarray:
        self.step += 1
        return np.tile(self.actions[self.step - 1], (self.count, 1))


def along_a_line(*starts: float) -> Tasks:
    """Tasks to get from x at y 8 to (10, 8)."""
    places = np.array([[x, 8.0] for x in starts])
    return Tasks(places, np.tile([10.0, 8.0], (len(starts), 1)), np.zeros((len(starts), 0)), np.arange(len(starts)))


def test_a_perfect_model_reaches_every_goal_on_nearly_the_shortest_way():
    suite = Plane()
    tasks = suite.tasks(5, seed=3)
    done = evaluate(ModelPolicy(PerfectModel(), PLANNER), suite, tasks, steps=30)
    scores = scored(done, suite.radii)
    assert [each.touched.share for each in scores.at] == [1, 1]
    assert scores.at[1].at_end.share == 1
    assert scores.at[0].path_efficiency > 0.95
    assert done.num_plans == 5 * 8  # every 2 blocks of 2 raw steps
    assert 0 < done.plan_seconds < done.seconds


@pytest.mark.parametrize("policy", ["model", "oracle"])
def test_outcomes_do_not_depend_on_which_episodes_run_together(policy):
    suite = Plane()
    tasks = suite.tasks(5, seed=1)

    def outcomes(of: Tasks, episodes_per_batch: int) -> Outcomes:
        made = ModelPolicy(PerfectModel(), PLANNER) if policy == "model" else OraclePolicy(PLANNER, frame_step=2)
        return evaluate(made, suite, of, 12, episodes_per_batch).outcomes

    together, alone, in_pairs = (outcomes(tasks, size) for size in (5, 1, 2))
    last = outcomes(tasks.rows(slice(4, 5)), 5)
    for name, whole in together._asdict().items():
        np.testing.assert_array_equal(whole, getattr(alone, name))
        np.testing.assert_array_equal(whole, getattr(in_pairs, name))
        np.testing.assert_array_equal(whole[4:], getattr(last, name))


def test_touching_is_counted_at_any_raw_step_and_reaching_at_the_last():
    suite, right = Plane(), [1.0, 0.0]
    done = evaluate(Scripted([right] * 9), suite, along_a_line(5, 3, 2), steps=9, keep=2).outcomes
    # From 5: 9 is within 2 px after 4 steps and, strictly, within 1 px after 5; then on to the border at 14.
    assert done.touched_after.tolist() == [[4, 5], [6, 7], [7, 8]]
    np.testing.assert_allclose(done.travelled, [[4, 5], [6, 7], [7, 8]])
    np.testing.assert_allclose(done.closest, [0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(done.last, [4, 2, 1])
    assert done.at_end(suite.radii).tolist() == [[False, False], [False, False], [True, False]]


def test_who_never_comes_near_has_touched_nothing():
    done = evaluate(Scripted([[0.0, 0.0]] * 3), Plane(), along_a_line(5), steps=3)
    assert done.outcomes.touched_after.tolist() == [[0, 0]]
    assert np.isnan(done.outcomes.travelled).all()
    assert scored(done, (2.0, 1.0)).at[0].steps is None
    assert (done.num_plans, done.plan_seconds) == (0, 0)


def test_an_episode_that_starts_at_its_goal_is_refused():
    with pytest.raises(ValueError, match=r"1 of 2 episodes \(the first is number 1\) start within the largest radius"):
        evaluate(Scripted([]), Plane(), along_a_line(5, 9), steps=3)


def test_wilson_intervals_are_those_of_the_textbook():
    assert wilson(np.arange(10) < 8) == pytest.approx((0.8, 0.49016, 0.94332), abs=1e-5)
    assert wilson(np.zeros(10, bool)) == pytest.approx((0, 0, 0.27754), abs=1e-5)
    assert wilson(np.ones(200, bool)) == pytest.approx((1, 0.98115, 1), abs=1e-5)


def test_path_efficiency_by_hand():
    reached, travelled = np.array([True, True, False]), np.array([10.0, 20.0, np.nan])
    assert path_efficiency(reached, travelled, np.full(3, 10.0)) == pytest.approx((1 + 0.5 + 0) / 3)
    # Who is let off the last pixels of the way by a wide radius gets no more than 1.
    assert path_efficiency(np.array([True]), np.array([7.0]), np.array([10.0])) == 1
    assert path_efficiency(reached, travelled, np.array([10.0, np.nan, 10.0])) is None


def test_a_model_that_looks_back_is_shown_its_last_frames_and_what_was_done_between_them():
    suite, model = Plane(), PerfectModel(context=3)
    tasks = suite.tasks(2, seed=0)
    done = evaluate(ModelPolicy(model, PLANNER, replan_every=1), suite, tasks, steps=8, keep=2)
    lengths = [latents.shape[1] for latents, _ in model.asked[:: len(model.asked) // 8]]
    assert lengths == [1, 1, 2, 2, 3, 3, 3, 3]  # two episodes, four plans each
    latents, actions = model.asked[-1]
    assert actions.shape[1] == 2 + PLANNER.horizon
    blocks = done.actions[1].reshape(4, 4)  # of two raw steps
    np.testing.assert_allclose(actions[0, :2], blocks[1:3], rtol=1e-6)
    moved = latents[0, 1:, 0] - latents[0, :-1, 0]
    np.testing.assert_allclose(moved, blocks[1:3].reshape(2, 2, 2).sum(1), atol=0.05)


def test_the_oracle_foresees_what_two_rooms_does():
    suite = TwoRooms("random")
    tasks = suite.tasks(64, seed=0)
    actions = np.random.default_rng(0).normal(0, 1.5, (64, 6, 2))
    world, visited = suite.begin(tasks), []
    for block in range(6):
        for _ in range(4):
            world.step(actions[:, block])
        visited.append(world.states)
    difference = np.abs(simulated(suite, tasks, actions, 4) - np.stack(visited, axis=1)).max((1, 2))
    assert np.quantile(difference, 0.9) < 1e-4  # around a corner many small moves and one long one differ
    with_chance = TwoRooms("random", fork=True)
    assert simulated(with_chance, tasks, actions, 4).shape == (64, 6, 2)


def test_an_episode_seen_again_is_the_same():
    suite = TwoRooms("random", distractors=1, fork=True)
    tasks = suite.tasks(3, seed=5)
    right = Scripted([[2.0, 0.5]] * 10)
    done = evaluate(right, suite, tasks, steps=10, keep=2)
    again = replay(suite, tasks.rows(slice(2)), done.actions)
    assert again.frames.shape == (2, 11, 64, 64, 3)
    np.testing.assert_allclose(
        suite.distances(tasks.rows(slice(2)), again.states[:, -1]), done.outcomes.last[:2], atol=1e-12
    )


def test_a_model_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"sees frames of 32x32 pixels, and those of plane, goals too, have 16x16"):
        require_fitting(Plane(), 2, (32, 32))
    with pytest.raises(ValueError, match=r"the model's actions have 7 numbers, those of plane have 2"):
        require_fitting(Plane(), 7, (SIZE, SIZE))


def wandering(episodes: int = 30, blocks: int = 12) -> SimpleNamespace:
    """Data of the plane: agents that go straight on until a border, as a data module has it."""
    suite, generator = Plane(), np.random.default_rng(0)
    places = generator.uniform(2, 14, (episodes, 2))
    tasks = Tasks(places, places, np.zeros((episodes, 0)), np.arange(episodes))
    world, frames, actions = suite.begin(tasks), [], []
    frames.append(world.render())
    for step in range(2 * blocks):
        if step % 8 == 0:
            direction = generator.uniform(0, 2 * np.pi, episodes)
        actions.append(0.7 * np.stack((np.cos(direction), np.sin(direction)), axis=1))
        world.step(actions[-1])
        frames.append(world.render())
    seen, done = np.stack(frames, axis=1), np.stack(actions, axis=1).astype(np.float32)
    store = SimpleNamespace(
        lengths=np.full(episodes, 2 * blocks),
        frames=lambda episode, times: seen[episode, times],
        actions=lambda episode, start, stop: done[episode, start:stop],
    )
    return SimpleNamespace(
        store=store,
        training_episodes=SimpleNamespace(
            numbers=np.arange(episodes),
            action_statistics=lambda: (np.zeros(2, np.float32), np.full(2, 0.5, np.float32)),
        ),
        action_dim=2,
        frame_step=2,
    )


def test_cloned_behaviour_goes_to_goals_that_were_seen_later_in_episodes():
    suite = Plane()
    cloning = Cloning(steps=150, batch_size=128, hidden_dim=32, gains=(1.0, 4.0), tuning_tasks=4)
    cloned = clone_behaviour(PerfectModel(), wandering(), suite, cloning)
    again = clone_behaviour(PerfectModel(), wandering(), suite, cloning)
    assert cloned.gain == again.gain
    for mine, other in zip(cloned.network.parameters(), again.network.parameters(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=0)
    done = evaluate(cloned, suite, suite.tasks(8, seed=2), steps=40)
    assert scored(done, suite.radii).at[0].touched.share > 0.7


def test_behaviour_is_cloned_on_data_of_the_model_alone():
    data = wandering(episodes=2)
    data.frame_step = 4
    with pytest.raises(ValueError, match="frames every 4 raw steps, the model has 2 and 2"):
        clone_behaviour(PerfectModel(), data, Plane(), Cloning())


def of_plane(shift: float = 0.0) -> tuple[Plane, Tasks, Evaluation]:
    suite = Plane()
    tasks = along_a_line(5, 3)
    return suite, tasks, evaluate(Scripted([[1.0 - shift, 0.0]] * 9), suite, tasks, steps=9, keep=2)


def test_the_report_has_every_task_and_every_episode(tmp_path: Path):
    suite, tasks, done = of_plane()
    still = evaluate(Scripted([[0.0, 0.0]] * 9), suite, tasks, steps=9)
    results = [
        result_of("world model", "test", "last.ckpt", done, suite),
        result_of("nobody", "test", None, still, suite),
    ]
    path = write_report(tmp_path, results, suite, {"test": tasks}, {"configuration": {"steps": 9}})
    written = json.loads(path.read_text())
    assert written["configuration"] == {"steps": 9}
    manifest = written["manifests"]["test"]
    assert manifest["starts"] == [[5, 8], [3, 8]]
    assert manifest["sha256"] == manifest_of(suite, "test", tasks)["sha256"]
    assert manifest["sha256"] != manifest_of(suite, "test", along_a_line(5, 3.1))["sha256"]
    model, nobody = written["results"]
    assert model["episodes"]["touched_after"] == [[4, 5], [6, 7]]
    assert nobody["episodes"]["travelled"] == [[None, None], [None, None]]
    assert nobody["scores"]["at"][0]["steps"] is None
    assert [path.name for path in tmp_path.iterdir()] == ["goal_reaching.json"]  # no temporary file is left


def test_the_table_shows_intervals_and_over_several_checkpoints_the_spread(capsys: pytest.CaptureFixture):
    suite, _, done = of_plane()
    print_tables([result_of("world model", "test", "a", done, suite)], suite, "a run")
    one = capsys.readouterr().out
    assert "100.0" in one
    assert "34.2–100.0" in one
    _, _, slower = of_plane(shift=0.9)
    print_tables(
        [result_of("world model", "test", str(k), each, suite) for k, each in enumerate((done, slower))], suite, "runs"
    )
    several = capsys.readouterr().out
    assert "50.0 ± 70.7" in several
    assert "× 2" in several


def test_a_linear_read_out_finds_the_states_in_latents():
    read_out = fit_read_out(PerfectModel(), Plane(), "test", seed=0, tasks=100)
    assert read_out.error < 0.1
    places = read_out.states(torch.tensor([[[3.0, 4.0]], [[9.0, 12.0]]]))
    np.testing.assert_allclose(places, [[3, 4], [9, 12]], atol=0.1)


def test_pictures_and_film_are_drawn(tmp_path: Path):
    suite, model = Plane(), PerfectModel()
    tasks = suite.tasks(3, seed=4)
    policy = ModelPolicy(model, PLANNER)
    done = evaluate(policy, suite, tasks, steps=6, keep=2)
    first = tasks.rows(slice(2))
    replayed = replay(suite, first, done.actions)
    read_out = fit_read_out(model, suite, "test", seed=0, tasks=50)
    imagined = first_imagined(policy, suite, first, read_out)
    assert [states.shape for states in imagined] == [(6, 2)] * 2
    np.testing.assert_allclose(imagined[0][1], replayed.states[0, 4], atol=0.2)  # two blocks of the first plan are done
    draw_paths(replayed, first, imagined, suite, "paths", tmp_path / "paths.png")
    draw_energy(model, suite, tasks, "energy", tmp_path / "energy.png", count=1)
    write_film(replayed.frames, suite.render_goals(first), first.goals, tmp_path / "film.mp4")
    assert (tmp_path / "paths.png").stat().st_size > 1000
    assert (tmp_path / "energy.png").stat().st_size > 1000
    film = scan_video(str(tmp_path / "film.mp4"))
    assert (film.num_frames, film.width, film.height) == (7, *2 * [4 * (SIZE + 2 + SIZE)])
