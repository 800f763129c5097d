"""Callbacks of training runs."""

from vjepa.monitoring.closing_summary import ClosingSummary
from vjepa.monitoring.data_usage import DataUsage
from vjepa.monitoring.gradient_norm import GradientNorm
from vjepa.monitoring.guard.heartbeat import Heartbeat
from vjepa.monitoring.guard.step_guard import StepGuard
from vjepa.monitoring.health.collapse_monitor import CollapseMonitor
from vjepa.monitoring.health.world_model_health import WorldModelHealth
from vjepa.monitoring.online_probe import OnlineProbe
from vjepa.monitoring.pictures import Pictures
from vjepa.monitoring.progress import RunProgress
from vjepa.monitoring.run_checkpoint import RunCheckpoint
from vjepa.monitoring.throughput import Throughput
from vjepa.monitoring.token_writer import TokenWriter

__all__ = [
    "ClosingSummary",
    "CollapseMonitor",
    "DataUsage",
    "GradientNorm",
    "Heartbeat",
    "OnlineProbe",
    "Pictures",
    "RunCheckpoint",
    "RunProgress",
    "StepGuard",
    "Throughput",
    "TokenWriter",
    "WorldModelHealth",
]
