"""`vjepa collect`: episodes of a simulated world, for a world model to learn from."""

import json
import time
from pathlib import Path
from typing import Any, cast

import numpy as np

from vjepa.cli.parser import run_by_recipe
from vjepa.cli.simulation.parts import AnySuite
from vjepa.data.episodes.collection import Collection, detect
from vjepa.envs.behaviour import Behaviour
from vjepa.envs.collection import collect
from vjepa.envs.world import Suite
from vjepa.interop.renamed import renamed

CHANGE_NOTHING = ("config", "output", "episodes_per_batch")  # of what is collected


def collect_episodes(
    suite: AnySuite,
    behaviour: Behaviour,
    output: Path,
    episodes: int = 1500,
    steps: int = 128,
    frame_interval: int = 4,
    seed: int = 0,
    episodes_per_batch: int = 250,
    configuration: dict[str, Any] | None = None,
) -> None:
    """Collect, unless the very same was collected there before, and say what it is.

    Args:
        suite: whose worlds are run, in layouts of its "train" split.
        behaviour: what is done in them.
        output: folder of the episodes.
        episodes: number of episodes.
        steps: raw steps of each episode.
        frame_interval: raw steps between stored frames.
        seed: of tasks and behaviour.
        episodes_per_batch: bounds the memory, and changes nothing.
        configuration: all of this as it is written beside the data.
    """
    started = time.monotonic()
    settings = _plain({k: v for k, v in (configuration or {}).items() if k not in CHANGE_NOTHING})
    if output.exists():
        _require_same(output, settings)
        print(f"{output} holds these episodes already")
        return
    simulated = cast(Suite, suite)
    done = collect(simulated, behaviour, output, episodes, steps, frame_interval, seed, settings, episodes_per_batch)
    size = sum(file.stat().st_size for file in output.iterdir()) / 1e6
    through_door = (
        "" if np.isnan(done.crossing_fraction) else f"{done.crossing_fraction:.0%} of them through the door, "
    )
    print(
        f"{output}: {done.episodes} episodes with {done.transitions} transitions, {through_door}{size:.0f} MB, "
        f"after {time.monotonic() - started:.0f} s"
    )


def _require_same(folder: Path, settings: dict[str, Any]) -> None:
    """Raises ValueError where the folder holds anything but episodes of these settings."""
    if not detect(folder):
        raise ValueError(f"{folder} is there already, and holds no collection; give another --output")
    found, _ = renamed(Collection(folder).world)
    if found == settings:
        return
    other = sorted(key for key in {*found, *settings} if found.get(key) != settings.get(key))
    name = other[0]
    raise ValueError(
        f"{folder} holds other episodes: {name} {json.dumps(found.get(name))}, not "
        f"{json.dumps(settings.get(name))}; give another --output, or remove the folder"
    )


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(settings))


def run_collect_command(arguments: list[str]) -> None:
    """Parse and run `vjepa collect`."""
    run_by_recipe(collect_episodes, arguments, "vjepa collect", "Collect episodes of a simulated world.")
