"""Checks of the shapes and dtypes that signatures state with jaxtyping; `conftest.py` turns them on for the package."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jaxtyping
from beartype import beartype

PACKAGE = Path(__file__).parents[1] / "vjepa"
jaxtyped = jaxtyping.jaxtyped


def check_package() -> None:
    """Check every call of a function whose signature states shapes, in modules that are imported from now on."""
    jaxtyping.jaxtyped = _only_where_stated
    jaxtyping.install_import_hook(list(_modules()), f"{__name__}.{check_shapes.__name__}")


def check_shapes(function: Callable[..., Any]) -> Callable[..., Any]:
    """Check annotations of tensors and arrays only: tests pass wrong strings and small fakes on purpose."""
    function.__annotations__ = {name: hint for name, hint in function.__annotations__.items() if _states_shape(hint)}
    return beartype(function)


def _only_where_stated(typechecker: Any) -> Callable[[Any], Any]:
    """The decorator that the hook puts on everything; it takes 1 ms for a function, so others are left as they are."""

    def decorate(decorated: Any) -> Any:
        function = getattr(decorated, "fget", getattr(decorated, "__func__", decorated))
        hints = getattr(function, "__annotations__", {}).values()
        return jaxtyped(decorated, typechecker=typechecker) if any(map(_states_shape, hints)) else decorated

    return decorate


def _states_shape(hint: Any) -> bool:
    return isinstance(hint, str) or "jaxtyping" in repr(hint)


def _modules() -> Iterator[str]:
    for path in PACKAGE.rglob("*.py"):
        if "jaxtyping" in path.read_text(encoding="utf-8"):
            yield ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
