"""How long a step waits for a checkpoint: written at once, and by a thread of its own.

    python benchmarks/bench_checkpoint.py [--millions 6] [--rounds 10] [--folder .]

The checkpoint is that of so many million parameters with a target encoder and AdamW's moments, in float32. Rounds
alternate; medians and quartiles are printed.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from vjepa.training.checkpoint import AsynchronousCheckpointIO, AtomicCheckpointIO


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--millions", type=float, default=6)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--folder", type=Path, default=Path("."), help="on the disk that is measured")
    given = parser.parse_args()
    names = ("weights", "target", "first moments", "second moments")
    parts = {name: torch.randn(24, int(given.millions * 1e6 / 24)) for name in names}
    content = {"state_dict": {f"{name}.{k}": row for name, rows in parts.items() for k, row in enumerate(rows)}}
    waited: dict[str, list[float]] = {"at once": [], "in a thread": []}
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        writers = {"at once": AtomicCheckpointIO(), "in a thread": AsynchronousCheckpointIO()}
        for _ in range(given.rounds):
            for name, writer in writers.items():
                started = time.perf_counter()
                writer.save_checkpoint(content, Path(folder) / f"{name}.ckpt")
                waited[name].append(time.perf_counter() - started)
                if isinstance(writer, AsynchronousCheckpointIO):
                    writer.wait()
    for name, seconds in waited.items():
        low, median, high = np.percentile(seconds, (25, 50, 75))
        print(f"{name:12} {1000 * median:7.1f} ms ({1000 * low:.1f} to {1000 * high:.1f})")
    print(
        f"a step waits {np.median(waited['at once']) / np.median(waited['in a thread']):.1f} times less for the thread"
    )


if __name__ == "__main__":
    main()
