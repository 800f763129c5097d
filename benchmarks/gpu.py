"""Training steps on one GPU: eager and compiled, by kind of attention and of checkpointing.

    python benchmarks/gpu.py [--sizes small base large giant] [--frames 16] [--clips 24] [--output FILE.csv]

V-JEPA 2 at 256 x 256 pixels with the released masks and the published predictor, bf16, AdamW and moving average
included; pixels are noise. For each: clips per second, TFLOP/s and MFU (FLOPs by formula; what is computed again is
time alone), peak memory, seconds of the first step, and how far the first loss is from the eager one's. `--tiny` runs
on a CPU.
"""

import argparse
import copy
import csv
import time
from pathlib import Path

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from vjepa.data.clips.batch import ClipBatch
from vjepa.data.randomness import Purpose, generator_for
from vjepa.grid import TokenGrid
from vjepa.masking import ReferenceMultiBlockTubes
from vjepa.models import Predictor, VideoEncoder, update_ema
from vjepa.models.layers import Block, Checkpointing
from vjepa.monitoring.throughput import peak_memory, utilization
from vjepa.training import JEPA
from vjepa.training.cost.efficiency import compile_blocks

BACKENDS = {"flash": SDPBackend.FLASH_ATTENTION, "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH}
CHECKPOINTING: dict[str, Checkpointing] = {"none": False, "selective": "selective", "full": True}
DIFFERENT_BATCHES = 4


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=["small", "base", "large", "giant"])
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--clips", type=int, default=24)
    parser.add_argument("--steps", type=int, default=10, help="that are timed, after as many as there are batches")
    parser.add_argument("--attention", nargs="+", choices=BACKENDS, default=["flash", "cudnn"])
    parser.add_argument("--checkpointing", nargs="+", choices=CHECKPOINTING, default=list(CHECKPOINTING))
    parser.add_argument("--compile", nargs="+", choices=("eager", "compiled"), default=["eager", "compiled"])
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results/gpu.csv"))
    parser.add_argument("--tiny", action="store_true", help="a tiny model, also on a CPU")
    given = parser.parse_args(arguments)
    if not torch.cuda.is_available() and not given.tiny:
        raise SystemExit("there is no GPU here; --tiny runs a tiny model on the processor")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows: list[dict[str, object]] = []
    for size in ["tiny"] if given.tiny else given.sizes:
        plain, batches = model_of(size, given.tiny).to(device), batches_of(given, device)
        losses: dict[str, float] = {}
        for compiled in given.compile:
            for attention in given.attention:
                for checkpointing in given.checkpointing:
                    what = {"size": size, "step": compiled, "attention": attention, "checkpointing": checkpointing}
                    try:
                        row = what | measured(copy.deepcopy(plain), batches, given.steps, losses, **what)
                    except (RuntimeError, torch.OutOfMemoryError) as error:
                        row = what | {"failed": str(error).splitlines()[0][:120]}
                    rows.append(row)
                    print(row, flush=True)
                    torch.cuda.empty_cache()
    write(rows, given.output)


def measured(
    model: JEPA,
    batches: list[ClipBatch],
    steps: int,
    losses: dict[str, float],  # of the eager step; the first fills it in
    step: str,
    attention: str,
    checkpointing: str,
    size: str,
) -> dict[str, object]:
    device = batches[0].clips.device
    for part in model.modules():
        if isinstance(part, Block):
            part.activation_checkpointing = CHECKPOINTING[checkpointing]
    if step == "compiled":
        torch._dynamo.reset()
        compile_blocks(model)
    trained = [part for part in model.parameters() if part.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, fused=True)

    def run(batch: ClipBatch) -> torch.Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            loss = model.step(batch).losses["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        update_ema(model.target_encoder, model.context_encoder, 0.999)
        return loss.detach()

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    # Fused attention of a CPU has no name of its own.
    with sdpa_kernel(BACKENDS[attention] if device.type == "cuda" else list(BACKENDS.values())):
        started = time.perf_counter()
        first = float(run(batches[0]))
        first_seconds = time.perf_counter() - started
        for batch in batches[1:]:
            run(batch)
        synchronize(device)
        started = time.perf_counter()
        for number in range(steps):
            run(batches[number % len(batches)])
        synchronize(device)
    seconds = time.perf_counter() - started
    clips = len(batches[0].clips)
    flops = sum(model.flops_of(batches[number % len(batches)]) for number in range(steps))
    tflops = flops / seconds / 1e12
    losses.setdefault("eager", first)
    return {
        "clips_per_second": round(steps * clips / seconds, 2),
        "tflops": round(tflops, 3),
        "mfu": round(utilization(tflops, device, "bf16-mixed").get("speed/mfu", float("nan")), 3),
        "peak_gib": round(peak_memory(device) / 2**30, 2),
        "first_step_seconds": round(first_seconds, 1),
        "loss": first,
        "loss_difference": abs(first - losses["eager"]),
    }


def model_of(size: str, tiny: bool) -> JEPA:
    torch.manual_seed(0)
    if tiny:
        encoder = VideoEncoder(embed_dim=24, depth=1, num_heads=2, position="rotary_tiled")
        predictor = Predictor(encoder_dim=24, embed_dim=24, depth=1, num_heads=2, position="rotary_tiled")
        return JEPA(encoder, predictor)
    encoder = VideoEncoder(size=size, position="rotary_tiled")  # type: ignore[arg-type]
    return JEPA(encoder, Predictor(encoder_dim=encoder.embed_dim, position="rotary_tiled"))


def batches_of(given: argparse.Namespace, device: torch.device) -> list[ClipBatch]:
    """Of masks that differ in length, as the released ones do."""
    clip = (4, 64, 64) if given.tiny else (given.frames, given.side, given.side)
    clips = 2 if given.tiny else given.clips
    grid = TokenGrid.of_clip(clip, (2, 16, 16))
    batches = []
    for draw in range(DIFFERENT_BATCHES):
        masks = []
        for number, (blocks, scale) in enumerate(((8, (0.15, 0.15)), (2, (0.7, 0.7)))):
            generators = [generator_for(draw, Purpose.MASK_OF_CLIP, number, clip) for clip in range(clips)]
            for_batch = generator_for(draw, Purpose.MASK_OF_BATCH, number)
            mask = ReferenceMultiBlockTubes(blocks, scale)(grid, for_batch, generators)
            masks.append(type(mask)(*(ids.to(device) for ids in mask)))
        rows = torch.zeros(clips, dtype=torch.int64, device=device)
        pixels = torch.randint(0, 255, (clips, 3, *clip), dtype=torch.uint8, device=device)
        batches.append(ClipBatch(pixels, masks, rows, rows, rows, rows, rows.float(), []))
    return batches


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def write(rows: list[dict[str, object]], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    names = list(dict.fromkeys(name for row in rows for name in row))
    with file.open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, names)
        writer.writeheader()
        writer.writerows(rows)
    print(f"{file} is written")


if __name__ == "__main__":
    main()
