"""`vjepa plan`: does planning with a world model reach goals? One table, with baselines."""

import importlib.util
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, cast

import torch

from vjepa.cli.parser import run_by_recipe
from vjepa.cli.simulation.parts import AnyPlanner, AnySuite
from vjepa.envs.baselines import BehaviourPolicy, StraightLine
from vjepa.envs.behaviour import RandomWalk
from vjepa.envs.world import Suite, Tasks
from vjepa.evaluation.planning.behaviour_cloning import Cloning, clone_behaviour
from vjepa.evaluation.planning.goal_reaching import (
    Policy,
    evaluate,
    replay,
    require_fitting,
    require_starts_away_from_goals,
)
from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.evaluation.planning.oracle import OraclePolicy
from vjepa.evaluation.planning.pictures import (
    can_be_drawn,
    draw_energy,
    draw_paths,
    first_imagined,
    write_film,
)
from vjepa.evaluation.planning.read_out import fit_read_out
from vjepa.evaluation.planning.report import Result, print_tables, result_of, write_report
from vjepa.interop.packaged import packaged_weights
from vjepa.interop.run_folder import newest_run
from vjepa.planning.cost import Over
from vjepa.planning.planner import Planner
from vjepa.training.world_model_run import WorldModelRun, read_world_model

BaselineName = Literal["oracle", "behaviour_cloning", "straight_line", "random"]
WORLD_MODEL = "world model"


def plan(
    suite: AnySuite,
    planner: AnyPlanner,
    checkpoint: list[Path] | Path | None = None,
    settings: Path | None = None,
    replan_every: int = 2,
    over: Over = "path",
    terminal_weight: float = 1.0,
    splits: list[str] = ["test"],  # noqa: B006 (read only)
    episodes: int = 200,
    steps: int = 200,
    seed: int = 1_000_003,
    baselines: list[BaselineName] = ["oracle", "behaviour_cloning", "straight_line", "random"],  # noqa: B006 (read only)
    oracle_episodes: int = 40,
    cloning: Cloning = Cloning(),  # noqa: B008 (frozen)
    pictures: int = 8,
    episodes_per_batch: int = 50,
    runs: Path = Path("runs"),
    output: Path | None = None,
    configuration: dict[str, Any] | None = None,
) -> None:
    """Run closed-loop episodes, print a table for each split, write a report, pictures and a film.

    Args:
        suite: worlds and tasks.
        planner: searches for actions; the oracle uses the same one.
        checkpoint: of a run of `vjepa fit` on a world model, or its folder, or several of them (training seeds), over
            which the table shows mean and standard deviation; two_rooms comes with the package; the newest below `runs`
            that fits the suite if None.
        settings: the run's config.yaml, where it does not lie in the checkpoint's run folder.
        replan_every: action chunks of a plan that are executed before the next plan.
        over: latents of an imagined path that count, "path" or "last".
        terminal_weight: of the last latent of a path; the others have 1.
        splits: of the suite's tasks, a table for each.
        episodes: of each split.
        steps: raw steps of each episode, which goes on at the goal.
        seed: of the tasks and of planning; training uses small ones.
        baselines: who stands beside the model: the same planner with the world itself as its model, behaviour cloned on
            the same data and latents, straight on to the goal, a random walk.
        oracle_episodes: the oracle runs only so many first episodes, because simulation is slow.
        cloning: how behaviour is cloned.
        pictures: number of first episodes to draw and film.
        episodes_per_batch: bounds the memory, and changes no result.
        runs: folder of all runs.
        output: folder of results; `plan` in the run's folder if None.
        configuration: all of this, for the report.
    """
    started = time.monotonic()
    simulated, search = cast(Suite, suite), cast(Planner, planner)
    counts = {"episodes": episodes, "steps": steps, "oracle_episodes": oracle_episodes}
    for name, count in (counts | {"episodes_per_batch": episodes_per_batch}).items():
        if count < 1:
            raise ValueError(f"{name} ({count}) must be at least 1")

    def opened(path: Path) -> WorldModelRun:
        run = read_world_model(path, settings)
        require_fitting(simulated, run.model.action_dim, run.model.frame_size, run.model.action_limit)
        return run

    if checkpoint is None:
        models = [newest_run(runs, opened, f"of a world model of {simulated.name}", "worldmodel")]
    else:
        models = [opened(path) for path in (checkpoint if isinstance(checkpoint, list) else [checkpoint])]
    if not models or not splits:
        raise ValueError("there is nothing to evaluate; give at least one checkpoint and one of splits")
    tasks = {split: simulated.tasks(episodes, seed, split) for split in splits}
    for part in tasks.values():
        require_starts_away_from_goals(simulated, part)
    named = ", ".join(f"{run.checkpoint}, step {run.step}" for run in models)
    print(f"planning with {named}")

    results: list[Result] = []
    drawn: dict[str, Any] = {}
    with one_thread():
        policies = policies_of(
            models, simulated, search, baselines, replan_every, over, terminal_weight, cloning, steps
        )
        for split, drawn_tasks in tasks.items():
            for name, path, policy in policies:
                these = drawn_tasks.rows(slice(oracle_episodes)) if name == "oracle" else drawn_tasks
                keep = pictures if policy is policies[0][2] else 0
                done = evaluate(policy, simulated, these, steps, episodes_per_batch, keep)
                results.append(result_of(name, split, path, done, simulated))
                drawn.setdefault(split, done.actions)
                _say(results[-1], simulated)
    folder = output or models[0].folder(runs) / "plan"
    facts = {
        "configuration": configuration,
        "checkpoints": [{"path": str(run.checkpoint), "step": run.step} for run in models],
    }
    report = write_report(folder, results, simulated, tasks, facts)
    print_tables(results, simulated, f"{models[0].name}, step {models[0].step}")
    print(
        "intervals are 95 % over episodes (Wilson); path efficiency (SPL) and steps are those of the largest radius; "
        "in brackets the processor time of planning per episode"
    )
    if pictures:
        model_policy = cast(ModelPolicy, policies[0][2])
        with one_thread():
            for split, actions in drawn.items():
                draw(model_policy, simulated, tasks[split], actions, split, seed, folder)
    print(f"{report} is written, after {time.monotonic() - started:.0f} s")


def policies_of(
    models: list[WorldModelRun],
    suite: Suite,
    planner: Planner,
    baselines: list[BaselineName],
    replan_every: int,
    over: Over,
    terminal_weight: float,
    cloning: Cloning,
    steps: int,
) -> list[tuple[str, str | None, Policy]]:
    """The rows of the table with their checkpoints, the models first."""
    policies: list[tuple[str, str | None, Policy]] = [
        (WORLD_MODEL, str(run.checkpoint), ModelPolicy(run.model, planner, replan_every, over, terminal_weight))
        for run in models
    ]
    if "oracle" in baselines:
        oracle = OraclePolicy(planner, models[0].model.frame_step, replan_every, over, terminal_weight)
        policies.append(("oracle", None, oracle))
    if "behaviour_cloning" in baselines:
        for run in models:
            started = time.process_time()
            try:
                cloned = clone_behaviour(run.model, run.data(), suite, cloning)
            except ValueError as error:
                if packaged_weights(run.checkpoint):  # which come without their episodes
                    print(f"no row of behaviour cloning: {error} (`vjepa collect -c {run.name}` writes them)")
                    continue
                raise ValueError(
                    f"behaviour can't be cloned: {error}; or leave behaviour_cloning out of --baselines"
                ) from None
            seconds = time.process_time() - started
            print(f"behaviour is cloned on the latents of {run.name}, gain {cloned.gain:g}, {seconds:.0f} CPU-s")
            policies.append(("behaviour cloning", str(run.checkpoint), cloned))
    if "straight_line" in baselines:
        policies.append(("straight line", None, StraightLine()))
    if "random" in baselines:
        policies.append(("random walk", None, BehaviourPolicy(RandomWalk(), steps)))
    return policies


def draw(policy: ModelPolicy, suite: Suite, tasks: Tasks, actions: Any, split: str, seed: int, folder: Path) -> None:
    """Pictures and a film of the first episodes of the first checkpoint."""
    if not can_be_drawn(suite):
        print(f"no pictures: they need states that begin with x and y in pixels, and {suite.name} has none")
        return
    first = tasks.rows(slice(len(actions)))
    replayed = replay(suite, first, actions)
    write_film(replayed.frames[:4], suite.render_goals(first)[:4], first.goals[:4], folder / f"episodes_{split}.mp4")
    if importlib.util.find_spec("matplotlib") is None:
        print("no pictures: they need matplotlib; install it with `pip install matplotlib`")
        return
    read_out = fit_read_out(policy.model, suite, split, seed + 1)
    title = (
        f"{suite.name}, {split}; imagined latents read out by ridge regression ({read_out.error:.1f} {suite.unit} off)"
    )
    imagined = first_imagined(policy, suite, first, read_out)
    draw_paths(replayed, first, imagined, suite, title, folder / f"paths_{split}.png")
    draw_energy(
        policy.model,
        suite,
        tasks,
        f"{suite.name}, {split}: planning cost",
        folder / f"energy_{split}.png",
    )


def _say(result: Result, suite: Suite) -> None:
    widest = result.scores.at[0]
    print(
        f"{result.split}, {result.policy}: {widest.touched.share:.1%} of {result.scores.episodes} episodes touched the "
        f"goal within {widest.radius:g} {suite.unit}, {result.evaluation.seconds:.0f} CPU-s",
        flush=True,
    )


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread multiplies small matrices fastest, and makes processor time comparable."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def run_plan_command(arguments: list[str]) -> None:
    """Parse and run `vjepa plan`."""
    run_by_recipe(plan, arguments, "vjepa plan", "Reach goals by planning with a world model.")
