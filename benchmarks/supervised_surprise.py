"""The bound of `vjepa surprise`: the same networks and the same measure, trained with labelled pairs.

    python benchmarks/supervised_surprise.py [--checkpoint physics] [--steps 1000] [--seed 0] [--output bound.csv]

Context encoder and predictor go on from a run of configs/pretrain/physics.yaml (or from random weights, with
--untrained) and learn that the impossible film of a pair must surprise more, from 2,000 pairs that are drawn by another
seed than those of `make surprise`. They are then scored on its test pairs. No label of these is seen.
"""

import argparse
import csv
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.matched_pairs import PairClips
from vjepa.data.synthetic.dataset import write_dataset
from vjepa.evaluation.surprise.evaluation import SurpriseEvaluation
from vjepa.evaluation.surprise.next_frame_surprise import NextFrameSurprise
from vjepa.evaluation.surprise.windows import PastWindows
from vjepa.interop.opening import open_run

PAIRS, PAIRS_A_STEP, LEARNING_RATE, WORST = 2500, 8, 1e-3, 4  # a fifth of the pairs is harmless


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--checkpoint", type=Path, default=Path("physics"))
    parser.add_argument("--untrained", action="store_true", help="start from the run's initial weights")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    torch.manual_seed(given.seed)
    run = open_run(given.checkpoint)
    encoder, predictor = run.untrained_networks() if given.untrained else (run.encoder("context"), run.predictor())
    windows = PastWindows(num_frames=8, context_lengths=(6,), exponent=2.0)
    networks = encoder, run.encoder("target"), predictor
    scorer = NextFrameSurprise("trained with labelled pairs", *networks, windows, torch.device("cpu"), "32-true")
    folder = write_dataset("data/physics_labelled", 0, 0, 2 * PAIRS, seed=1, world="physics")
    learn(scorer, PairClips(test_manifest=str(folder / "test.csv"), frame_step=2, crop_size=(32, 32)), given.steps)
    scored = PairClips(
        test_manifest="data/physics/test.csv", val_manifest="data/physics/val.csv", frame_step=2, crop_size=(32, 32)
    )
    results = SurpriseEvaluation(scored, [scorer]).run()
    rows = [(each.property, f"{each.scores.accuracy:.4f}", each.num_pairs) for each in results.properties]
    for row in rows:
        print(*row)
    if given.output:
        with given.output.open("w", newline="") as file:
            csv.writer(file).writerows([("property", "accuracy", "pairs"), *rows])


def learn(scorer: NextFrameSurprise, pairs: PairClips, steps: int) -> None:
    """Train the scorer's context encoder and predictor; what is worst in the impossible film must be worse."""
    weights = [*scorer.encoder.parameters(), *scorer.predictor.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    started = time.process_time()
    for step, clips in zip(range(1, steps + 1), batches(pairs), strict=False):
        plain, odd = scorer.errors(normalize_clips(clips)).flatten(1).topk(WORST).values.mean(1).log().chunk(2)
        loss = F.softplus(plain - odd).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 50 == 0:
            right = (odd > plain).float().mean()
            spent = time.process_time() - started
            print(f"step {step}  loss {loss:.3f}  right {right:.2f}  {spent:.0f} CPU-s", flush=True)


def batches(pairs: PairClips) -> Iterator[torch.Tensor]:
    """Clips of pairs in random order, the possible ones first, for ever."""
    decoded = [
        torch.stack((each.plain.frames, each.odd.frames))
        for each in pairs.decoded_pairs("test")
        if not each.pair.is_harmless
    ]
    while True:
        for rows in torch.randperm(len(decoded)).split(PAIRS_A_STEP):
            chosen = torch.stack([decoded[row] for row in rows])
            if torch.rand(()) < 0.5:
                chosen = chosen.flip(-1)  # left and right
            yield chosen.transpose(0, 1).flatten(0, 1)


if __name__ == "__main__":
    main()
