"""Kills runs at random instants, and checks that each ends bit for bit as the unbroken run: `make kill-test`.

    python -m tests.integration.kill_test [--kills 30] [--seed 0]

A JEPA and a world model, on one rank and on two, take turns. A third of the kills come while a checkpoint is being
written, the others at any time from the start of the process. Between two kills a run must lose no more steps than lie
between two checkpoints.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
import yaml

from tests.conftest import RECIPE
from tests.integration import warm_process
from tests.integration.runs import _free_port
from tests.integration.test_world_model_fit import RECIPE as WORLD_MODEL
from tests.training.tiny_dot_world import write_dot_world
from vjepa.data.synthetic.dataset import write_dataset
from vjepa.monitoring.guard.heartbeat import FILE as HEARTBEAT
from vjepa.training.checkpoint import checkpoints_of, newest_whole

INTERVAL = 2  # steps between checkpoints
FLAGS = (f"--checkpoint.every_n_steps={INTERVAL}", "--heartbeat.every_n_seconds=0", "--trainer.max_steps=40")
LONGEST = 120.0  # seconds of a run


class Case(NamedTuple):
    name: str
    recipe: Path
    ranks: int
    flags: tuple[str, ...]

    @property
    def arguments(self) -> list[str]:
        ddp = ("--trainer.devices=2", "--trainer.strategy=ddp") if self.ranks else ()
        return ["fit", "-c", str(self.recipe), *FLAGS, *self.flags, *ddp]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    draw = random.Random(given.seed)
    for module in warm_process.IMPORTED:
        __import__(module)
    with tempfile.TemporaryDirectory() as folder:
        cases = cases_in(Path(folder))
        print(f"{'run':24}{'kills':>6}{'in a write':>12}{'most steps lost':>17}  ends as the unbroken run")
        shares = [given.kills // len(cases) + (number < given.kills % len(cases)) for number in range(len(cases))]
        equal = [check(case, kills, draw) for case, kills in zip(cases, shares, strict=True)]
    sys.exit(0 if all(equal) else 1)


def cases_in(folder: Path) -> list[Case]:
    clips = write_dataset(folder / "world", 26, 0, 0, num_frames=12, size=32, num_workers=1, progress=False)
    jepa = yaml.safe_load(yaml.safe_dump(RECIPE)) | {"runs": str(folder / "runs")}
    jepa["data"]["init_args"]["train_manifest"] = str(clips / "train.csv")
    (folder / "jepa.yaml").write_text(yaml.safe_dump(jepa))
    episodes = write_dot_world(folder / "episodes")
    world = f"runs: {folder / 'runs'}\n" + WORLD_MODEL.replace("EPISODES", str(episodes))
    (folder / "world_model.yaml").write_text(world)
    no_phase = ("--model.dynamics_phase=null", "--model.temporal_distance=null")  # which has one device
    return [
        Case("JEPA, 1 rank", folder / "jepa.yaml", 0, ("--name=a", "--trainer.val_check_interval=null")),
        Case("JEPA, 2 ranks", folder / "jepa.yaml", 2, ("--name=b", "--trainer.val_check_interval=null")),
        Case("world model, 1 rank", folder / "world_model.yaml", 0, ("--name=c",)),
        Case("world model, 2 ranks", folder / "world_model.yaml", 2, ("--name=d", *no_phase)),
    ]


def check(case: Case, kills: int, draw: random.Random) -> bool:
    """Whether a run that is killed so often ends as the unbroken one; prints its line."""
    started = time.monotonic()
    unbroken = case.recipe.parent / "runs" / f"{case.flags[0].removeprefix('--name=')}_unbroken"
    finish(start([*case.arguments, f"--name={unbroken.name}"], case.ranks))
    longest = time.monotonic() - started
    folder = unbroken.with_name(unbroken.name.removesuffix("_unbroken"))
    in_writes = most_lost = 0
    for number in range(kills):
        before = newest(folder)
        processes = start([*case.arguments, *(["--ckpt_path=last"] if before else [])], case.ranks)
        if number % 3 == 0:
            in_writes += wait_for_a_write(folder, processes)
        else:
            time.sleep(draw.uniform(0.2, longest))
        for process in processes:
            os.kill(process, signal.SIGKILL)
        for process in processes:
            os.waitpid(process, 0)
        beats = [json.loads(file.read_text())["step"] for file in folder.glob(f"*/{HEARTBEAT}")]
        saved = newest(folder)
        if beats:
            most_lost = max(most_lost, max(beats) - (0 if saved is None else step_of(saved)))
    finish(start([*case.arguments, *(["--ckpt_path=last"] if newest(folder) else [])], case.ranks))
    last = newest(folder)
    equal = last is not None and same_weights(last, unbroken / "version_0" / "checkpoints" / "last.ckpt")
    fine = equal and most_lost <= INTERVAL
    print(f"{case.name:24}{kills:6}{in_writes:12}{most_lost:17}  {'yes' if equal else 'NO'}", flush=True)
    return fine


def start(arguments: list[str], ranks: int) -> list[int]:
    """Processes of `vjepa`, forked from this one."""
    request = {"stdout": os.devnull, "stderr": os.devnull, "ranks": ranks, "nodes": 1, "port": _free_port()}
    processes = []
    for rank in range(ranks or 1):
        process = os.fork()
        if not process:
            code = 1
            try:
                warm_process.become(request, rank)
                warm_process.run(arguments)
                code = 0
            except SystemExit as ended:
                code = int(ended.code or 0)
            finally:
                os._exit(code)
        processes.append(process)
    return processes


def finish(processes: list[int]) -> None:
    codes = warm_process.exit_codes(processes, LONGEST)
    assert not any(codes), f"a run failed: exit codes {codes}"


def wait_for_a_write(folder: Path, processes: list[int]) -> bool:
    """Until a checkpoint is being written; false where the run ends before."""
    end = time.monotonic() + LONGEST
    seen = {file for file in folder.glob("*/checkpoints/.last.ckpt.*.tmp")}  # of runs that were killed
    while time.monotonic() < end:
        if set(folder.glob("*/checkpoints/.last.ckpt.*.tmp")) - seen:
            return True
        if any(not Path(f"/proc/{process}/cmdline").read_bytes() for process in processes):  # ended
            return False
        time.sleep(0.0005)
    return False


def newest(folder: Path) -> Path | None:
    files = sorted(folder.glob("*/checkpoints/last.ckpt"), key=lambda file: file.stat().st_mtime)
    return newest_whole(checkpoints_of(files[-1].parent)) if files else None


def step_of(file: Path) -> int:
    return int(torch.load(file, weights_only=True)["global_step"])


def same_weights(ours: Path, theirs: Path) -> bool:
    mine, other = (torch.load(file, weights_only=True) for file in (ours, theirs))
    return mine["global_step"] == other["global_step"] and all(
        mine["state_dict"][name].equal(tensor) for name, tensor in other["state_dict"].items()
    )


if __name__ == "__main__":
    main()
