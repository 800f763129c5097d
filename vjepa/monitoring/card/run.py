"""A run as its card shows it: what its folder holds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from vjepa.evaluation.planning.model_health import HealthLimitsOfWorldModel, verdict
from vjepa.interop.recipe import read_recipe
from vjepa.monitoring.card.origin import read_origin
from vjepa.monitoring.health.collapse_watch import CollapseWatch, HealthLimits
from vjepa.monitoring.health.health_bands import HealthBands, read_bands
from vjepa.monitoring.health.run_curves import curves_by_step

SETTINGS = "config.yaml"


Limits = TypeVar("Limits")


class Run(NamedTuple):
    folder: Path
    settings: dict[str, Any]
    curves: dict[str, dict[int, float]]  # by scalar and step
    starts: list[dict[str, Any]]  # `vjepa.monitoring.card.origin`
    bands: HealthBands | None

    @property
    def title(self) -> str:
        return f"{self.folder.resolve().parent.name} / {self.folder.resolve().name}"

    @property
    def kind(self) -> str:
        """The class of its model."""
        return str((self.settings.get("model") or {}).get("class_path", "")).rpartition(".")[2] or "unknown model"

    @property
    def last_step(self) -> int:
        return max((max(curve) for curve in self.curves.values() if curve), default=0)

    @property
    def max_steps(self) -> int | None:
        steps = (self.settings.get("trainer") or {}).get("max_steps")
        return steps if isinstance(steps, int) and steps > 0 else None

    @property
    def verdict(self) -> str | None:
        """The verdict on its health with its reason, as the run itself gave it; None without enough readings.

        Raises ValueError where the settings have a limit that this version does not know.
        """
        health = {
            name.removeprefix("health/"): curve for name, curve in self.curves.items() if name.startswith("health/")
        }
        if "inverse_error" in health:  # a world model
            limits = self._limits("world_model_health", HealthLimitsOfWorldModel)
            return verdict({name: curve[max(curve)] for name, curve in health.items() if name in _HEALTH}, limits)
        watch = CollapseWatch(self._limits("collapse_monitor", HealthLimits))
        for step in sorted({step for name, curve in health.items() if name != "gradient_norm" for step in curve}):
            watch.add({name: curve[step] for name, curve in health.items() if step in curve})
        return None if watch.judgement is None else watch.judgement.words

    def _limits(self, section: str, kind: Callable[..., Limits]) -> Limits:
        limits = (self.settings.get(section) or {}).get("limits") or {}
        try:
            return kind(**limits)
        except TypeError:
            raise ValueError(
                f"{self.folder / SETTINGS}: {section}.limits ({', '.join(limits)}) has a name that this version "
                f"does not know; read the run with the version that made it, or take the name out"
            ) from None


_HEALTH = ("std", "rank", "error_over_change", "action_sensitivity", "inverse_error")  # that a verdict is made of


def read_run_card(path: Path, bands: Path | None = None) -> Run:
    """The run in a folder, or the newest one below it.

    Args:
        path: folder of a run, or of several.
        bands: file of `vjepa health-bands`; the one that the run was compared with if None.

    Raises ValueError where there is no run.
    """
    found = (
        [path / SETTINGS]
        if (path / SETTINGS).is_file()
        else [*path.glob(f"*/{SETTINGS}"), *path.glob(f"*/*/{SETTINGS}")]
    )
    if not found:
        raise ValueError(
            f"there is no run in {path} (no {SETTINGS}); give the folder of one, e.g. runs/synthetic/version_0"
        )
    folder = max(found, key=lambda file: file.stat().st_mtime).parent
    settings = read_recipe(folder / SETTINGS)
    own_bands = (settings.get("collapse_monitor") or {}).get("bands")
    if bands is None and own_bands is not None and Path(own_bands).is_file():
        bands = Path(own_bands)
    curves = curves_by_step(folder)
    return Run(folder, settings, curves, read_origin(folder), None if bands is None else read_bands(bands))
