"""Schedules against the reference, step by step."""

from functools import partial

import torch

from tests.parity.golden import Case, cases
from vjepa.training import Schedule


@cases("schedules")
def test_schedules_match_the_reference(case: Case):
    settings = case.settings
    warmup_cosine, stable = settings["warmup_cosine"], settings["warmup_constant_decay"]
    linear, decay = settings["linear_decay"], settings["cosine_weight_decay"]
    schedules = {
        "warmup_cosine": Schedule(
            start=warmup_cosine["start_lr"],
            peak=warmup_cosine["ref_lr"],
            end=warmup_cosine["final_lr"],
            warmup_steps=warmup_cosine["warmup_steps"],
            total_steps=warmup_cosine["T_max"],
        ),
        "warmup_constant_decay": Schedule(
            start=stable["start_lr"],
            peak=stable["ref_lr"],
            end=stable["final_lr"],
            warmup_steps=stable["warmup_steps"],
            decay="linear",
            decay_steps=stable["anneal_steps"],
            total_steps=stable["T_max"],
        ),
        "linear_decay": Schedule(
            peak=linear["ref_lr"], end=linear["final_lr"], decay="linear", total_steps=linear["T_max"]
        ),
        "cosine_weight_decay": Schedule(peak=decay["ref_wd"], end=decay["final_wd"], total_steps=decay["T_max"]),
    }
    steps = settings["steps"]
    for name, schedule in schedules.items():
        ours = torch.tensor([schedule.value(step, steps) for step in range(1, steps + 1)], dtype=torch.float64)
        torch.testing.assert_close(
            ours, case.tensors[name].double(), atol=1e-12, rtol=1e-9, msg=partial("{}: {}".format, name)
        )
