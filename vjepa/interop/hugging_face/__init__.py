"""Hugging Face folders."""

from vjepa.interop.hugging_face.files import CONFIG
from vjepa.interop.hugging_face.folder import read_hugging_face, write_hugging_face
from vjepa.interop.hugging_face.levjepa import has_class_token

__all__ = ["CONFIG", "has_class_token", "read_hugging_face", "write_hugging_face"]
