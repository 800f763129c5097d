"""The supervised bound: the default recipe's encoder trained with labels, from nothing, by the same few clips.

    python benchmarks/supervised_bound.py [--labels 20 all] [--steps 1500] [--seeds 0]

Tells whether a label can be learned at all by an encoder of this size: what frozen features reach is read beside it.
Encoder and attentive probe train together on the embedded dataset; of two learning rates the better one on validation
clips is scored once on the test clips.
"""

import argparse
import math

import numpy as np
import torch
import torch.nn.functional as F

from vjepa.data.clips.batch import normalize_clips
from vjepa.data.clips.labelled_clips import LabelledClips, SplitName
from vjepa.models import AttentiveProbe, VideoEncoder

LEARNING_RATES = (5e-4, 1e-3)


def main() -> None:
    arguments = parsed()
    torch.set_num_threads(arguments.threads)
    clips = LabelledClips(
        train_manifest=f"{arguments.data}/train.csv",
        val_manifest=f"{arguments.data}/val.csv",
        test_manifest=f"{arguments.data}/test.csv",
        num_frames=8,
        frame_step=2,
        crop_size=(64, 64),
        crop_scale=(1.0, 1.0),
        crop_aspect_ratio=(1.0, 1.0),
        batch_size=64,
        num_workers=1,
    )
    for amount in arguments.labels:
        for seed in arguments.seeds:
            tried = [bound(clips, amount, seed, rate, arguments.steps) for rate in LEARNING_RATES]
            val, test = max(tried)
            print(f"{amount} labels, seed {seed}: {test:.1%} on test ({val:.1%} on validation)", flush=True)


def bound(
    clips: LabelledClips, amount: int | str, seed: int, learning_rate: float, steps: int
) -> tuple[float, float]:  # accuracy on validation and on test
    torch.manual_seed(seed)
    encoder = VideoEncoder(embed_dim=96, depth=3, num_heads=4, tubelet=(2, 16, 16))
    head = AttentiveProbe(encoder.embed_dim, [len(clips.class_names)], num_heads=16)
    parameters = [*encoder.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min(1, step / 50) * 0.5 * (1 + math.cos(math.pi * step / steps))
    )
    for batch in clips.training_batches(clips.labelled_rows(amount, seed), 64, steps):  # type: ignore[arg-type]
        (scores,) = head(encoder(normalize_clips(batch.clips)))
        optimizer.zero_grad()
        F.cross_entropy(scores, batch.labels).backward()
        optimizer.step()
        schedule.step()
    return accuracy(encoder, head, clips, "val"), accuracy(encoder, head, clips, "test")


@torch.no_grad()
def accuracy(encoder: VideoEncoder, head: AttentiveProbe, clips: LabelledClips, split: SplitName) -> float:
    right = [
        head(encoder(normalize_clips(batch.clips)))[0].argmax(1) == batch.labels
        for batch in clips.evaluation_batches(split, np.arange(len(clips.manifests[split])))
    ]
    return float(torch.cat(right).float().mean())


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="data/synthetic", help="the embedded dataset")
    parser.add_argument(
        "--labels", nargs="+", type=lambda text: text if text == "all" else int(text), default=[20, "all"]
    )
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


if __name__ == "__main__":
    main()
