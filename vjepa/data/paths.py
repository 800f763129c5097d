"""Paths as people write them."""

import os


def expanded(path: str) -> str:
    """With `~/` and `$NAME` or `${NAME}` filled in. What is no variable stays: `$` may be part of a file's name."""
    return os.path.expanduser(os.path.expandvars(path)) if "$" in path or path.startswith("~/") else path
