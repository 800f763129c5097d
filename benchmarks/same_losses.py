"""Do five recipes still give the losses that they gave before a change, to the last bit?

Trains the first steps of each recipe on one thread and compares every logged training loss with those in a file:

    python benchmarks/same_losses.py                                  # compare with benchmarks/same_losses.json
    python benchmarks/same_losses.py --write=benchmarks/same_losses.json

The file holds the losses of an AMD EPYC and torch 2.13.0+cpu. Those of `synthetic_agreement`, the earlier default, are
those of commit dc64876 but for its first weights: the predictor, which may be null since, is drawn first. Losses
depend on the processor and on torch's version: to compare two commits elsewhere, write the file with the first one on
the same machine. Two Rooms runs its dynamics phase in the last third of the steps. `small_videos` is trained on the
embedded dataset's videos, since its own can't be shipped.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

STEPS = 30
MIXTURE = [
    {"manifest": "data/synthetic/train.csv", "weight": 0.7, "name": "first"},
    {"manifest": "data/synthetic/val.csv", "weight": 0.3, "name": "second"},
]
RECIPES = {
    "configs/pretrain/synthetic.yaml": [],
    "configs/pretrain/synthetic_agreement.yaml": [],
    "configs/pretrain/small_videos.yaml": [f"--data.mixture={json.dumps(MIXTURE)}"],
    "configs/pretrain/synthetic_2_1.yaml": [],
    "configs/worldmodel/two_rooms.yaml": ["--model.dynamics_phase.steps=10"],
}
# Names of curves that have changed since the file was written.
RENAMED: dict[str, str] = {}


def losses_of(recipe: str, flags: list[str], folder: Path) -> dict[str, list[str]]:
    """Each training loss of each step, as a hexadecimal float."""
    command = [sys.executable, "-m", "vjepa", "fit", f"--config={recipe}", f"--runs={folder}", "--name=run", *flags]
    command += [f"--trainer.max_steps={STEPS}", "--trainer.log_every_n_steps=1", "--trainer.limit_val_batches=0"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    events = EventAccumulator(str(folder / "run" / "version_0"), size_guidance={"scalars": 0}).Reload()
    names = sorted(name for name in events.Tags()["scalars"] if name.startswith("train/"))
    return {RENAMED.get(name, name): [float(event.value).hex() for event in events.Scalars(name)] for name in names}


def differences(found: dict[str, list[str]], expected: dict[str, list[str]]) -> list[str]:
    """One line for each loss that differs, with the first step at which it does."""
    lines = [f"{name}: {'is new' if name in found else 'is gone'}" for name in sorted(found.keys() ^ expected.keys())]
    for name in sorted(found.keys() & expected.keys()):
        for step, (one, other) in enumerate(zip(found[name], expected[name], strict=True)):
            if one != other:
                lines.append(f"{name}: step {step} gave {float.fromhex(one)!r}, not {float.fromhex(other)!r}")
                break
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the losses of four recipes' first steps with a file's.")
    parser.add_argument("--file", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--write", type=Path, help="write the losses to this file instead")
    parser.add_argument("--only", default="", help="only recipes whose path contains this")
    arguments = parser.parse_args()
    found = {}
    for recipe, flags in RECIPES.items():
        if arguments.only in recipe:
            with tempfile.TemporaryDirectory() as folder:
                found[recipe] = losses_of(recipe, flags, Path(folder))
            print(f"{recipe}: {len(found[recipe])} losses of {STEPS} steps", flush=True)
    if arguments.write:
        arguments.write.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        return
    expected = json.loads(arguments.file.read_text(encoding="utf-8"))
    different = [f"{recipe}: {line}" for recipe in found for line in differences(found[recipe], expected[recipe])]
    print("\n".join(different) or "the same to the last bit")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
