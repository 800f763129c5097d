"""A value over the steps of a run: warm-up, plateau, decay. Learning rate, weight decay and momentum all use it."""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Schedule:
    """Linear from `start` to `peak` over `warmup_steps`, then `peak`, then to `end` over the last `decay_steps`.

    `start` and `end` are `peak` where they are None, so `Schedule(peak=0.04)` is a constant. `decay_steps` is all that
    follows the warm-up where it is None. `total_steps` is the length of the run where it is None; a larger one gives
    the schedules of the released code, which stop before their end. Steps count from 1: step `warmup_steps` has the
    value `peak`, step `total_steps` has the value `end`.
    """

    peak: float
    start: float | None = None
    end: float | None = None
    warmup_steps: int = 0
    decay: Literal["cosine", "linear"] = "cosine"
    decay_steps: int | None = None
    total_steps: float | None = None

    def value(self, step: int, run_steps: int) -> float:
        """The value at `step` (from 1) of a run of `run_steps` steps."""
        start = self.peak if self.start is None else self.start
        end = self.peak if self.end is None else self.end
        total = self.total_steps or run_steps
        warmup = min(self.warmup_steps, total)
        if step < warmup:
            return start + step / warmup * (self.peak - start)
        decay_steps = total - warmup if self.decay_steps is None else min(self.decay_steps, total - warmup)
        since = step - (total - decay_steps)
        if since <= 0:
            return self.peak
        if since >= decay_steps:
            return end
        if self.decay == "linear":
            return self.peak + since / decay_steps * (end - self.peak)
        return end + (self.peak - end) * cosine_decay(since, decay_steps)


def cosine_decay(step: float, num_steps: float) -> float:
    """From 1 at step 0 to 0 at step `num_steps`, as half a cosine."""
    return 0.5 * (1 + math.cos(math.pi * step / num_steps))
