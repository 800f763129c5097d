"""Models in other formats: reading and writing. Its names are imported when they are used, since they need torch."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vjepa.interop.load_encoder import LoadedEncoder
    from vjepa.interop.opening import encoder_part_of, open_model
    from vjepa.interop.portable import Origin, Part, PortableModel, Preprocessing
    from vjepa.interop.report import Report

__all__ = [
    "LoadedEncoder",
    "Origin",
    "Part",
    "PortableModel",
    "Preprocessing",
    "Report",
    "encoder_part_of",
    "open_model",
]


def __getattr__(name: str) -> Any:
    for module in ("portable", "report", "opening", "load_encoder") if name in __all__ else ():
        found = getattr(import_module(f"vjepa.interop.{module}"), name, None)
        if found is not None:
            return found
    raise AttributeError(f"module 'vjepa.interop' has no attribute '{name}'")
