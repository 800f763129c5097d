"""Things that watch training."""

from vjepa.callbacks.closing_summary import ClosingSummary
from vjepa.callbacks.collapse_monitor import CollapseMonitor
from vjepa.callbacks.data_usage import DataUsage
from vjepa.callbacks.gradient_norm import GradientNorm
from vjepa.callbacks.online_probe import OnlineProbe
from vjepa.callbacks.pictures import Pictures
from vjepa.callbacks.progress import RunProgress
from vjepa.callbacks.run_checkpoint import RunCheckpoint
from vjepa.callbacks.throughput import Throughput
from vjepa.callbacks.token_writer import TokenWriter
from vjepa.callbacks.world_model_health import WorldModelHealth

__all__ = [
    "ClosingSummary",
    "CollapseMonitor",
    "DataUsage",
    "GradientNorm",
    "OnlineProbe",
    "Pictures",
    "RunCheckpoint",
    "RunProgress",
    "Throughput",
    "TokenWriter",
    "WorldModelHealth",
]
