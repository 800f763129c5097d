"""Checks of the shapes and dtypes that signatures state with jaxtyping; `conftest.py` turns them on for the package."""

from collections.abc import Callable
from typing import Any

from beartype import beartype


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check annotations of tensors and arrays only: tests pass wrong strings and small fakes on purpose."""
    hints = getattr(function, "__annotations__", {})
    function.__annotations__ = {name: hint for name, hint in hints.items() if "jaxtyping" in repr(hint)}
    return beartype(function)
