"""What keeps a world model from collapse: each anti-collapse term alone, and the pixel twin, by what they are worth.

    python benchmarks/world_model_terms.py --output runs/terms/table.md

Every row is trained by configs/worldmodel/two_rooms.yaml with nothing changed but its term: the same encoder, dynamics,
data, steps, and the same time similarity and inverse dynamics beside it. The pixel twin predicts frames instead, with a
decoder. Each is judged by closed-loop planning (200 episodes), by how far off a linear read-out of the agent is, and by
effective rank, over training seeds. `--over last` plans with the cost of the last step.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from vjepa.data.atomic_file import new_file
from vjepa.envs.two_rooms import TwoRooms
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.evaluation.planning.scores import scored
from vjepa.monitoring.health.run_curves import curves_by_step
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.training.world_model_run import read_world_model

RECIPE = Path("configs/worldmodel/two_rooms.yaml")
BARLOW = '{"class_path": "vjepa.objectives.BarlowTwins", "init_args": {"weight": 8.0, "off_diagonal_weight": 0.1}}'
SIGREG = '{"class_path": "vjepa.objectives.SIGReg", "init_args": {"weight": 40.0, "invariance_weight": 0.0}}'
WORLD = "vjepa.objectives.world"
PIXELS = {
    "inverse_dynamics": {"class_path": f"{WORLD}.InverseDynamicsTerm"},
    "frames": {"class_path": f"{WORLD}.FramePrediction", "init_args": {"rollout_weight": 2.0}},
}
NONE = "--model.terms.regularizer=null"
TERMS = {
    "none": [NONE],
    "EMA": [NONE, "--model.targets=vjepa.training.AverageLatents"],
    "VICReg": [],
    "Barlow Twins": [f"--model.terms.regularizer.regularizer={BARLOW}"],
    "SIGReg": [f"--model.terms.regularizer.regularizer={SIGREG}"],
    "pixel twin": [f"--model.terms={json.dumps(PIXELS)}"],
}
EVALUATION_SEED = 1_000_003


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--terms", nargs="+", default=list(TERMS), choices=list(TERMS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=500, help="of all networks together")
    parser.add_argument("--dynamics-steps", type=int, default=2500, help="of the dynamics alone, after them")
    parser.add_argument("--episodes", type=int, default=200)
    parser.add_argument("--over", default="path", choices=["path", "last"])
    parser.add_argument("--runs", type=Path, default=Path("runs/terms"))
    parser.add_argument("--output", type=Path, default=Path("runs/terms/table.md"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    rows: dict[str, list[dict[str, float]]] = {}
    for seed in given.seeds:
        for term in given.terms:
            rows.setdefault(term, []).append(measured(term, seed, given))
            with new_file(given.output) as temporary:
                temporary.write_text(table(rows))
    print(table(rows))


def measured(term: str, seed: int, given: argparse.Namespace) -> dict[str, float]:
    name = f"{term.lower().replace(' ', '_')}_{given.steps}_{given.dynamics_steps}_seed_{seed}"
    folder = given.runs / name / "version_0"
    file = folder / f"terms_{given.over}_{given.episodes}.json"
    if file.exists():
        return json.loads(file.read_text())
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if not checkpoint.exists():
        started = time.monotonic()
        train(term, seed, name, given)
        print(f"{name}: trained after {time.monotonic() - started:.0f} s", flush=True)
    suite = TwoRooms()
    policy = ModelPolicy(read_world_model(checkpoint).model, CrossEntropyMethod(), over=given.over)
    scores = scored(evaluate(policy, suite, suite.tasks(given.episodes, EVALUATION_SEED), 200), suite.radii)
    health = {key: [*curve.values()][-1] for key, curve in curves_by_step(folder).items() if key.startswith("health/")}
    found = {
        **{f"touched {at.radius}": at.touched.share for at in scores.at},
        **{f"end {at.radius}": at.at_end.share for at in scores.at},
        "agent px": health["health/state_error"],
        "rank": health["health/rank"],
        "std": health["health/std"],
    }
    print(f"{name}, {given.over}: {found}", flush=True)
    with new_file(file) as temporary:
        temporary.write_text(json.dumps(found))
    return found


def train(term: str, seed: int, name: str, given: argparse.Namespace) -> None:
    flags = [
        f"--runs={given.runs}",
        f"--name={name}",
        f"--seed_everything={seed}",
        f"--data.seed={seed}",
        f"--model.dynamics_phase.seed={seed}",
        f"--model.dynamics_phase.steps={given.dynamics_steps}",
        f"--trainer.max_steps={given.steps + given.dynamics_steps}",
        "--trainer.limit_val_batches=0",
        *TERMS[term],
    ]
    subprocess.run([sys.executable, "-m", "vjepa", "fit", "-c", str(RECIPE), *flags], check=True, capture_output=True)


def table(rows: dict[str, list[dict[str, float]]]) -> str:
    columns = list(next(iter(rows.values()))[0])
    lines = ["| term | seeds | " + " | ".join(columns) + " |", "|---" * (len(columns) + 2) + "|"]
    for term, of_seeds in rows.items():
        cells = []
        for column in columns:
            values = np.array([each[column] for each in of_seeds])
            scale = 100 if column.startswith(("touched", "end")) else 1
            spread = f" ± {scale * values.std(ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{scale * values.mean():.1f}{spread}")
        lines.append(f"| {term} | {len(of_seeds)} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
