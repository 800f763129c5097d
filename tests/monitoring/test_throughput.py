"""The speed that is shown: by hand, at times that are given."""

import types

import pytest
import torch

from tests.training.test_jepa import batch, jepa
from vjepa.monitoring import Throughput, throughput
from vjepa.training.cost.gpus import GPUS, gpu_of_device

SECONDS = [0.0, 1.0, 2.0, 3.0, 5.0]  # end of step 0, begin and end of step 1, begin and end of step 2


@pytest.fixture
def logged(monkeypatch) -> list[dict[str, float]]:
    clock, values = iter(SECONDS), []
    monkeypatch.setattr(throughput, "time", types.SimpleNamespace(perf_counter=lambda: next(clock)))
    monkeypatch.setattr(throughput, "log_now", lambda trainer, module, speed: values.append(speed))
    return values


def run(trainer, module) -> None:
    meter = Throughput(seconds_between_logs=4.0)
    for step in range(3):
        meter.on_train_batch_start(trainer, module, batch(step), step)
        meter.on_train_batch_end(trainer, module, None, batch(step), step)


def test_clips_waiting_and_flops_of_two_steps(logged):
    module, trainer = jepa(), types.SimpleNamespace(world_size=4, precision="bf16-mixed")
    run(trainer, module)
    (speed,) = logged
    assert speed["speed/clips_per_second"] == 2 * 2 * 4 / 5
    assert speed["speed/data_wait"] == 2 / 5
    assert speed["speed/tflops"] == pytest.approx(2 * module.flops_of(batch(0)) / 5 / 1e12)
    assert 0.01 < speed["speed/peak_memory"] < 1000
    assert "speed/mfu" not in speed  # a CPU


def test_mfu_is_a_fraction_of_the_peak_in_this_precision(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    cuda = torch.device("cuda", 0)
    assert throughput.utilization(494.5, cuda, "bf16-mixed") == {"speed/mfu": 0.5}
    assert throughput.utilization(494.5, cuda, "32-true") == {}
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    assert throughput.utilization(494.5, cuda, "bf16-mixed") == {}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "h100"),
        ("NVIDIA H100 PCIe", "h100-pcie"),
        ("NVIDIA H200", "h200"),
        ("NVIDIA H200 NVL", "h200-nvl"),
        ("NVIDIA A100-SXM4-80GB", "a100"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("NVIDIA L40S", "l40s"),
        ("NVIDIA GH200 480GB", "gh200"),
    ],
)
def test_gpus_are_known_by_what_drivers_call_them(name, known):
    assert gpu_of_device(name) is GPUS[known]
