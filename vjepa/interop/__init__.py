"""Models in other formats: reading and writing."""

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
