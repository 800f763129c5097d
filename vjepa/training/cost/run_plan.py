"""A run before it is launched: parameters, memory, FLOPs, data, checkpoints and hours, from its recipe alone."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from vjepa.data.clips.batch import ClipBatch, Views
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.randomness import Purpose, generator_for
from vjepa.grid import TokenGrid
from vjepa.masking import kept_tokens
from vjepa.models.layers import Block, Checkpointing
from vjepa.training.cost.efficiency import num_micro_batches
from vjepa.training.cost.gpus import Gpu
from vjepa.training.cost.memory import (
    Numbers,
    activation_bytes,
    checkpoint_bytes,
    sharded_state_bytes,
    state_bytes,
    working_bytes,
)
from vjepa.training.cost.step_cost import meta_batch
from vjepa.training.devices.sharding import SHARDED
from vjepa.training.jepa import JEPA

DRAWS = 16  # of masks, whose lengths differ from batch to batch
FILE_FPS = 30  # frames per second of a usual video file
USABLE = 0.92  # of a GPU's memory: the rest is CUDA's own, and lost between blocks of memory


@dataclass(frozen=True)
class Plan:
    """Of a run on `devices` GPUs of a kind; bytes are of one GPU."""

    gpu: Gpu
    devices: int
    clips_per_device: int
    clips_at_once: int  # of a device's clips, by the largest micro-batch
    states: dict[str, int]  # weights, gradients, moments and target by strategy
    parameters: dict[str, int]
    memory: dict[str, int]  # by part
    checkpoint: int
    flops_per_clip: float
    clips_per_second: float  # of all devices
    decoded_per_clip: float  # frames of the file that a clip spans
    clip_bytes: int
    steps: int
    clips: int  # of the run

    @property
    def total(self) -> int:
        return sum(self.memory.values())

    @property
    def fits(self) -> bool:
        return self.total <= USABLE * self.gpu.memory_gb * 1e9

    @property
    def hours(self) -> float:
        return self.clips / self.clips_per_second / 3600


def plan_of(
    model: JEPA,  # may be on the meta device
    data: ClipDataModule,
    trainer: dict[str, Any],
    gpu: Gpu,
    devices: int,
    mfu: float,
    checkpointing: Checkpointing | None = None,  # None: as the networks say
    max_micro_batch: int | None = None,
) -> Plan:
    """Raises ValueError where the batch can't be split over the devices, or the run has no end."""
    steps, accumulated = trainer.get("max_steps", -1), trainer.get("accumulate_grad_batches", 1)
    if steps is None or steps < 1:
        raise ValueError("the run has no end to count hours to; give --trainer.max_steps")
    if checkpointing is not None:
        for part in model.modules():
            if isinstance(part, Block):
                part.activation_checkpointing = checkpointing
    data.check_batch_size(devices)
    num_clips = data.global_batch_size // devices
    at_once = num_clips if max_micro_batch is None else num_clips // num_micro_batches(data, devices, max_micro_batch)
    half = "16" in str(trainer.get("precision") or 32)
    numbers = Numbers(2 if half else 4, on_gpu=True)
    batches = [batch_of(data, at_once, draw) for draw in range(DRAWS)]
    strategy, nodes = trainer.get("strategy") or "auto", trainer.get("num_nodes") or 1
    shards = devices if strategy == "fsdp2" else max(1, devices // nodes)
    sharded = sharded_state_bytes(model, shards)
    memory = dict(sharded if strategy in SHARDED else state_bytes(model))
    memory["activations"] = max(activation_bytes(model, batch, numbers) for batch in batches)
    memory["work"] = working_bytes(model, batches[0], numbers)
    flops = float(np.mean([model.flops_of(batch) for batch in batches])) / at_once
    predictor = 0 if model.predictor is None else sum(part.numel() for part in model.predictor.parameters())
    # TF32, which is not the default, has half the peak of 16 bits, and fp32 proper about a sixteenth.
    peak = gpu.peak_tflops * 1e12 * (1 if half else 1 / 16)
    frames = data.frames
    seconds = frames.duration or (frames.num_frames / frames.fps if frames.fps else None)
    spanned = FILE_FPS * seconds if seconds else frames.num_frames * (frames.frame_step or 1)
    return Plan(
        gpu=gpu,
        devices=devices,
        clips_per_device=num_clips,
        clips_at_once=at_once,
        states={
            "ddp": sum(state_bytes(model).values()),
            f"in {shards} shards": sum(sharded.values()),
        },
        parameters={
            "encoder": sum(part.numel() for part in model.context_encoder.parameters()),
            "predictor": predictor,
        },
        memory=memory,
        checkpoint=checkpoint_bytes(model),
        flops_per_clip=flops,
        clips_per_second=devices * mfu * peak / flops,
        decoded_per_clip=spanned,
        clip_bytes=batches[0].clips[0].numel(),
        steps=steps,
        clips=steps * accumulated * data.global_batch_size,
    )


def batch_of(data: ClipDataModule, num_clips: int, draw: int) -> ClipBatch:
    """A batch with masks and views as long as those of batch number `draw`, on the meta device."""
    clip = (data.num_frames, *data.crop_size)
    generators = [generator_for(data.seed, Purpose.MASK_OF_CLIP, draw, number) for number in range(num_clips)]
    for_batch = generator_for(data.seed, Purpose.MASK_OF_BATCH, draw)
    masks = [strategy(data.grid, for_batch, generators) for strategy in data.masks]
    batch = meta_batch(num_clips, clip, [(mask.context_ids.shape[1], mask.target_ids.shape[1]) for mask in masks])
    views = []
    for settings in data.views or []:
        size, rows = settings.crop_size or data.crop_size, num_clips * settings.number
        clips = None
        if settings.crop_size is not None:
            clips = torch.empty(rows, 3, data.num_frames, *size, dtype=torch.uint8, device="meta")
        token_ids = None
        if settings.keep_ratio < 1:
            grid = TokenGrid.of_clip((data.num_frames, *size), data.tubelet)
            token_ids = kept_tokens(grid, settings.keep_ratio, generators, settings.number).to("meta")
        views.append(Views(clips, token_ids))
    return batch._replace(views=views)


def report_of(plan: Plan, mfu: float) -> str:
    """The plan as lines of text."""
    parts = [f"{name} {size / 1e9:.1f}" for name, size in plan.memory.items()]
    states = ", ".join(f"{name} {size / 1e9:.1f} GB" for name, size in plan.states.items())
    at_once = f", {plan.clips_at_once} at once" if plan.clips_at_once < plan.clips_per_device else ""
    decoded, pixels = (plan.clips_per_second * each for each in (plan.decoded_per_clip, plan.clip_bytes / 1e6))
    millions = ", ".join(f"{name} {count / 1e6:,.1f} M" for name, count in plan.parameters.items() if count)
    lines = [
        ("parameters", millions),
        ("memory", f"{plan.total / 1e9:.1f} of {plan.gpu.memory_gb} GB a GPU: {', '.join(parts)}"),
        ("strategy", f"weights, gradients, moments and target of a GPU: {states}"),
        (
            "batch",
            f"{plan.clips_per_device} clips a GPU{at_once}, {plan.clips_per_device * plan.devices:,} on {plan.devices}",
        ),
        ("FLOPs", f"{plan.flops_per_clip / 1e12:.3g} T a clip"),
        ("speed", f"{plan.clips_per_second:,.0f} clips a second, if {mfu:.0%} of the peak are reached (--mfu)"),
        ("data", f"{decoded:,.0f} frames a second to decode; {pixels:,.0f} MB/s of pixels are kept"),
        ("checkpoint", f"{plan.checkpoint / 1e9:.1f} GB"),
        ("length", f"{plan.steps:,} steps, {plan.clips / 1e6:,.1f} M clips"),
        ("time", f"{plan.hours:,.1f} hours, {plan.hours * plan.devices:,.0f} GPU-hours"),
    ]
    return "\n".join(f"{name:<10}  {text}" for name, text in lines)
