"""Packages that only some formats need."""

from importlib import import_module
from typing import Any


def optional(module: str, use: str, extra: str) -> Any:
    """A module of a package that an extra installs. Raises ValueError, with its use, where it is missing."""
    try:
        return import_module(module)
    except ImportError:
        package = module.partition(".")[0]
        raise ValueError(f"{use} needs {package}: pip install 'video-jepa[{extra}]'") from None
