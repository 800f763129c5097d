"""The training step and the masks beside plain references of the published algorithms (`benchmarks/reference.py`).

    python benchmarks/bench.py [--rounds 10] [--only step masks] [--shapes S M] [--output benchmarks/results]

Both sides take turns in one process with one thread, the one that begins changes; times are processor time. Before a
step is timed its fp32 loss must agree within 1e-6. Writes a table as Markdown and JSON, named by the date.
"""

import argparse
import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import NamedTuple

import torch
from reference import ReferenceStep, reference_masks

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.randomness import Purpose, generator_for
from vjepa.grid import TokenGrid
from vjepa.masking import MultiBlockTubes, ReferenceMultiBlockTubes
from vjepa.masking.multi_block import block_size
from vjepa.models import Predictor, VideoEncoder, update_ema
from vjepa.training import JEPA


class Shape(NamedTuple):
    """Of a small V-JEPA 2."""

    clip: tuple[int, int, int]
    tubelet: tuple[int, int, int]
    predictor: tuple[int, int, int]  # width, depth, heads
    encoder: tuple[int, int, int] = (192, 12, 3)
    clips: int = 8


SHAPES = {
    "S": Shape((8, 64, 64), (2, 8, 8), (96, 6, 3)),
    "M": Shape((16, 96, 96), (2, 16, 16), (192, 6, 6)),
    "M, published predictor": Shape((16, 96, 96), (2, 16, 16), (384, 12, 12)),
    "tiny": Shape((4, 32, 32), (2, 8, 8), (24, 1, 2), (24, 1, 2), 2),
}
MASKS = ((8, (0.15, 0.15)), (2, (0.7, 0.7)))


class Row(NamedTuple):
    """Of the table."""

    what: str
    ours: float  # median, in milliseconds
    reference: float
    ratio: float  # median of the rounds' own
    low: float  # a tenth of the rounds is below
    high: float


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", nargs="+", choices=("step", "masks"), default=["step", "masks"])
    parser.add_argument("--shapes", nargs="+", choices=SHAPES, default=[name for name in SHAPES if name != "tiny"])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"))
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    rows: list[Row] = []
    for found in (
        *(step_rows(given) if "step" in given.only else ()),
        *(mask_rows(given) if "masks" in given.only else ()),
    ):
        rows.append(found)
        print(f"{found.what:<60} {found.ours:9.2f} {found.reference:9.2f} ms  {found.ratio:.2f}", flush=True)
    write(rows, given.output, given.rounds)


def step_rows(given: argparse.Namespace) -> Iterator[Row]:
    for name in given.shapes:
        for precision in ("bf16", "fp32"):
            for checkpointing in (False, True):
                shape = SHAPES[name]
                model, batch = model_of(shape), batch_of(shape)
                reference = ReferenceStep(model, checkpointing)
                difference = abs(float(model.step(batch).losses["loss"].detach() - reference.loss(batch).detach()))
                if difference > 1e-6:
                    raise SystemExit(f"shape {name}: losses differ by {difference:.1e}, nothing to compare")
                shipped = "as shipped (blocks computed again)" if checkpointing else "without checkpointing"
                what = f"step, shape {name}, {precision}, reference {shipped}"
                yield timed(
                    what, our_step(model, batch, precision), their_step(reference, batch, precision), given.rounds
                )


def our_step(model: JEPA, batch: ClipBatch, precision: str) -> Callable[[], None]:
    trained = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, weight_decay=0.04, fused=True)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = model.step(batch).losses["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        update_ema(model.target_encoder, model.context_encoder, 0.99925)

    return step


def their_step(reference: ReferenceStep, batch: ClipBatch, precision: str) -> Callable[[], None]:
    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = reference.loss(batch)
        loss.backward()
        reference.update()

    return step


def mask_rows(given: argparse.Namespace) -> Iterator[Row]:
    """Both masks of 24 clips, as a worker draws them: with the generators of all clips."""
    grid, clips = TokenGrid(8, 16, 16), 24
    ranges = [((1.0, 1.0), scale, (0.75, 1.5)) for _, scale in MASKS]

    def theirs() -> None:
        for (blocks, _), each in zip(MASKS, ranges, strict=True):
            size = block_size(grid, *each, uniforms=tuple(torch.rand(3).tolist()))
            reference_masks(clips, grid, blocks, size, torch.Generator().manual_seed(0))

    for kind in (MultiBlockTubes, ReferenceMultiBlockTubes):
        strategies = [kind(blocks, scale) for blocks, scale in MASKS]
        yield timed(
            f"masks of 24 clips, {kind.__name__}", lambda s=strategies: draw(s, grid, clips), theirs, 5 * given.rounds
        )


def draw(strategies: list, grid: TokenGrid, clips: int) -> None:
    for number, strategy in enumerate(strategies):
        for_clips = [generator_for(0, Purpose.MASK_OF_CLIP, number, clip) for clip in range(clips)]
        strategy(grid, generator_for(0, Purpose.MASK_OF_BATCH, number), for_clips)


def model_of(shape: Shape) -> JEPA:
    torch.manual_seed(0)
    (width, depth, heads), (narrow, layers, few) = shape.encoder, shape.predictor
    encoder = VideoEncoder(
        embed_dim=width, depth=depth, num_heads=heads, tubelet=shape.tubelet, position="rotary_tiled"
    )
    predictor = Predictor(encoder_dim=width, embed_dim=narrow, depth=layers, num_heads=few, position="rotary_tiled")
    return JEPA(encoder, predictor)


def batch_of(shape: Shape) -> ClipBatch:
    grid, seeds = TokenGrid.of_clip(shape.clip, shape.tubelet), range(shape.clips)
    masks = []
    for number, (blocks, scale) in enumerate(MASKS):
        generators = [generator_for(0, Purpose.MASK_OF_CLIP, number, seed) for seed in seeds]
        masks.append(ReferenceMultiBlockTubes(blocks, scale)(grid, generator_for(0, Purpose.MASK_OF_BATCH), generators))
    pixels = torch.randint(0, 255, (shape.clips, 3, *shape.clip), dtype=torch.uint8)
    rows = torch.zeros(shape.clips, dtype=torch.int64)
    return ClipBatch(pixels, masks, rows, rows, rows, rows, rows.float(), [])


def timed(what: str, ours: Callable[[], None], theirs: Callable[[], None], rounds: int) -> Row:
    pairs = []
    for number in range(rounds + 1):
        both = [ours, theirs] if number % 2 else [theirs, ours]
        times = {}
        for side in both:
            started = time.process_time()
            side()
            times[side] = 1000 * (time.process_time() - started)
        pairs.append((times[ours], times[theirs]))
    pairs = pairs[1:]  # the first warms up
    ratios = sorted(reference / mine for mine, reference in pairs)
    ends = (ratios[round(share * (len(ratios) - 1))] for share in (0.1, 0.9))
    medians = (statistics.median(side) for side in zip(*pairs, strict=True))
    return Row(what, *medians, statistics.median(ratios), *ends)


def write(rows: list[Row], folder: Path, rounds: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    machine = {
        "date": date.today().isoformat(),
        "processor": platform.processor() or platform.machine(),
        "torch": torch.__version__,
        "threads": 1,
        "rounds": rounds,
    }
    file = folder / f"{machine['date']}.json"
    file.write_text(json.dumps({**machine, "rows": [row._asdict() for row in rows]}, indent=1) + "\n", encoding="utf-8")
    lines = [
        f"# {machine['date']}: beside plain references",
        "",
        f"`python benchmarks/bench.py`, {machine['processor']}, torch {machine['torch']}, one thread, {rounds} rounds, "
        "processor time.",
        "",
        "| | ours, ms | reference, ms | times as fast | 10 to 90 % of rounds |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.what} | {row.ours:.2f} | {row.reference:.2f} | {row.ratio:.2f} | {row.low:.2f} to {row.high:.2f} |"
        for row in rows
    ]
    file.with_suffix(".md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{file} and {file.with_suffix('.md').name} are written")


if __name__ == "__main__":
    main()
