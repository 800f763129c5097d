"""Hugging Face folders of any known type: V-JEPA 2 (of transformers itself) and LeVJEPA (with code of its own)."""

from pathlib import Path

from vjepa.interop.hugging_face import levjepa, vjepa2
from vjepa.interop.hugging_face.files import CONFIG, read_json
from vjepa.interop.portable import PortableModel
from vjepa.interop.report import Report

_READERS = {"vjepa2": vjepa2.read_vjepa2, levjepa.MODEL_TYPE: levjepa.read_levjepa}


def read_hugging_face(folder: Path) -> tuple[PortableModel, Report]:
    """Read a folder. Raises ValueError where it has another model, or weights and config don't fit."""
    config = read_json(folder / CONFIG)
    reader = _READERS.get(str(config.get("model_type")))
    if reader is None:
        raise ValueError(
            f"{folder} holds a model of type '{config.get('model_type')}'; of Hugging Face's models "
            f"{' and '.join(map(repr, _READERS))} are read"
        )
    return reader(folder, config)


def write_hugging_face(model: PortableModel, folder: Path) -> None:
    """Write a folder that `from_pretrained` reads. Raises ValueError where neither type has such a model."""
    if levjepa.has_class_token(model):
        levjepa.write_levjepa(model, folder)
    else:
        vjepa2.write_vjepa2(model, folder)
