"""Writes weights that come with the package to vjepa/weights/NAME: safetensors, settings, and a card with its score.

usage: python scripts/package_weights.py NAME RUN "COMMAND" COMMIT

NAME is one of `CHECKS`. A test loads the weights, scores them anew on the same few clips or episodes, and reads the
card.
"""

import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import yaml

from vjepa.data.atomic_file import write_text
from vjepa.data.clips.matched_pairs import PairClips
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.synthetic.dataset import write_dataset
from vjepa.envs.two_rooms import TwoRooms
from vjepa.evaluation.planning.goal_reaching import evaluate
from vjepa.evaluation.planning.model_policy import ModelPolicy
from vjepa.evaluation.planning.report import result_of
from vjepa.evaluation.probes.nearest_neighbours import neighbour_votes
from vjepa.evaluation.surprise.evaluation import MEAN, SurpriseEvaluation
from vjepa.evaluation.surprise.next_frame_surprise import NextFrameSurprise
from vjepa.evaluation.surprise.windows import PastWindows
from vjepa.interop.load_encoder import LoadedEncoder, load_encoder
from vjepa.interop.loading import read_run_checkpoint, write_weights
from vjepa.interop.native import write_native
from vjepa.interop.opening import open_run
from vjepa.interop.packaged import RUN_SETTINGS, STEP, WEIGHTS, WEIGHTS_FOLDER
from vjepa.interop.portable import Origin
from vjepa.interop.recipe import read_recipe
from vjepa.interop.run_folder import checkpoint_in, read_run
from vjepa.planning.cross_entropy import CrossEntropyMethod
from vjepa.training.world_model_run import read_world_model

LICENCE = "Apache-2.0"
CLIPS = {"num_train": 72, "num_val": 0, "num_test": 48}  # of `vjepa make-data`
FILMS: dict[str, Any] = {"num_train": 0, "num_val": 0, "num_test": 80}  # of its world of physics
EPISODES, SEED = 8, 7_000_003


def accuracy_of_neighbours(encoder: LoadedEncoder) -> float:
    """Accuracy of the nearest neighbour by mean tokens, on a small rendering of the embedded dataset."""
    with tempfile.TemporaryDirectory() as folder:
        world = write_dataset(folder, **CLIPS, num_workers=1, progress=False)
        manifests = [read_manifest(world / f"{split}.csv") for split in ("train", "test")]
        features = [
            torch.cat([encoder.embed_clips(encoder.prepare(path, max_clips=1)) for path in manifest.paths])
            for manifest in manifests
        ]
    labels = [torch.from_numpy(manifest.labels) for manifest in manifests]
    votes = neighbour_votes(features[0], labels[0], features[1], 1, len(manifests[0].label_names))
    return float((votes.argmax(1) == labels[1]).float().mean())


def check_encoder(name: str) -> float:
    return accuracy_of_neighbours(load_encoder(name))


def check_world_model(name: str) -> float:
    """Fraction of episodes in which planning touched the goal within the larger radius."""
    suite = TwoRooms(layouts="fixed")
    policy = ModelPolicy(read_world_model(Path(name)).model, CrossEntropyMethod(horizon=25), 2, "path", 1.0)
    done = evaluate(policy, suite, suite.tasks(EPISODES, SEED, "test"), 200, EPISODES, 0)
    return float(result_of("world model", "test", None, done, suite).scores.at[0].touched.share)


def check_surprise(name: str) -> float:
    """Fraction of pairs whose impossible film surprises more, on a small rendering of the physics world."""
    with tempfile.TemporaryDirectory() as folder:
        world = write_dataset(folder, **FILMS, world="physics", num_workers=1, progress=False)
        pairs = PairClips(test_manifest=str(world / "test.csv"), frame_step=2, crop_size=(32, 32), num_workers=0)
        run = open_run(Path(name))
        networks = run.encoder("context"), run.encoder("target"), run.predictor()
        windows = PastWindows(num_frames=8, context_lengths=(6,), exponent=2.0)
        scorer = NextFrameSurprise(name, *networks, windows, torch.device("cpu"), "32-true")
        results = SurpriseEvaluation(pairs, [scorer], report=lambda _: None).run()
    return next(each.scores.accuracy for each in results.properties if each.property == MEAN)


CHECKS: dict[str, tuple[Callable[[str], float], str]] = {
    "synthetic": (
        check_encoder,
        f"nearest neighbour, {CLIPS['num_test']} test clips by {CLIPS['num_train']} training clips of "
        "`vjepa make-data --num_train=72 --num_val=0 --num_test=48`, chance 0.083",
    ),
    "physics": (
        check_surprise,
        f"pairs whose impossible film surprises more, of the 32 of `vjepa make-data "
        f"--world=physics --num_train=0 --num_val=0 --num_test={FILMS['num_test']}`, chance 0.5",
    ),
    "two_rooms": (
        check_world_model,
        f"goals touched within 4.5 pixels by planning, the first {EPISODES} episodes of `configs/plan/two_rooms.yaml`",
    ),
}
ABOUT = {
    "synthetic": """\
Encoder (moving average) and predictor of the default recipe: clips of 16 frames, every second one of 16 frames per
second, 64 x 64 pixels, to 512 tokens of 96 numbers. Trained on `vjepa make-data` alone, whose films are computed.
With 5 labels for each of the 12 motions a linear probe reaches 66.5 to 70 % (three draws of labels; docs/results.md).
It knows nothing of real video.

```python
encoder = vjepa.load_encoder("synthetic")
```

`vjepa probe`, `segment`, `surprise` and `embed` take `--checkpoint=synthetic`.
""",
    "physics": """\
Encoders and predictor of `configs/pretrain/physics.yaml`: every second frame of 32 x 32 pixels to tokens of 2 x 4 x 4,
each tubelet predicted from all before it. Trained on possible films of `vjepa make-data --world=physics` alone.
Its encoder is no use to a probe: targets are those of its first weights.
It tells the impossible film of a pair in 80 ± 3 % of 400 test pairs (three seeds; docs/surprise.md).

```bash
vjepa surprise -c physics --checkpoint=physics
```
""",
    "two_rooms": """\
World model of Two Rooms with one wall and one door: frames of 64 x 64 pixels to 24 numbers, and how four raw actions
change them. Trained on `vjepa collect -c two_rooms` alone, a simulated world.

```bash
vjepa plan -c two_rooms --checkpoint=two_rooms --episodes=20
```
""",
}


def write(name: str, run: Path, command: str, commit: str) -> None:
    """Write the folder of these weights."""
    folder = WEIGHTS_FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    origin = Origin(
        f"vjepa, commit {commit}", data=f"data/{name} (`vjepa make-data`)", command=command, licence=LICENCE
    )
    if name == "two_rooms":
        model = read_world_model(run)
        origin = replace(origin, data="data/two_rooms (`vjepa collect -c two_rooms`)")
        write_run(folder, model.model.state_dict(), model.step, model.checkpoint.parent.parent, origin)
    elif name == "physics":  # targets are tokens of another encoder, which the native format does not hold
        content = read_run_checkpoint(checkpoint_in(run))
        origin = replace(origin, data="data/physics (`vjepa make-data --world=physics`)")
        write_run(folder, content["state_dict"], content["global_step"], run, origin)
    else:
        write_native(replace(read_run(checkpoint_in(run)).portable()[0], origin=origin), folder)
    check, what = CHECKS[name]
    card = f"""# {name}

{ABOUT[name]}
* Made by: `{command}` at commit {commit}
* Data: {origin.data}
* Licence: {LICENCE}
* Score: {check(name):.3f} ({what})
"""
    write_text(folder / "README.md", card)


def write_run(folder: Path, weights: dict[str, torch.Tensor], step: int, run: Path, origin: Origin) -> None:
    """Write all networks of a run, the settings that make them, and where they come from."""
    write_weights(weights | {STEP: torch.tensor(step)}, folder / WEIGHTS)
    settings: dict[str, Any] = read_recipe(run / RUN_SETTINGS)
    kept = {key: settings[key] for key in ("seed_everything", "model", "data")} | {"origin": asdict(origin)}
    write_text(folder / RUN_SETTINGS, yaml.safe_dump(kept, sort_keys=False))


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:5])
