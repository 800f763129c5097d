"""Where a run comes from: command, commit, versions, device, data with their hashes; in `origin.json` of its folder."""

import hashlib
import json
import os
import platform
import shlex
import subprocess
import sys
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, Trainer

import vjepa
from vjepa.data.atomic_file import write_json
from vjepa.data.clips.data_module import ClipDataModule
from vjepa.data.episodes.data_module import EpisodeDataModule
from vjepa.data.video.storage import is_clutter, is_remote

FILE, SETTINGS = "origin.json", "config.yaml"
ORIGIN = "origin"  # its key in a checkpoint
PACKAGES = ("torch", "lightning", "numpy", "timm", "decord", "av")
CHECKOUT = Path(__file__).parents[3]


def add_origin(folder: Path, trainer: Trainer, data: LightningDataModule | None) -> None:
    """Add this start of a run to the list in its folder: a resumed run has several."""
    start = {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["vjepa", *sys.argv[1:]]),
        "vjepa": vjepa.__version__,
        "commit": commit_of(CHECKOUT),
        "python": platform.python_version(),
        "packages": {name: found for name in PACKAGES if (found := _version(name))},
        "device": _device(trainer),
        "data": [{"name": name, "path": path, "sha256": fingerprint(path)} for name, path in _sources(data).items()],
    }
    write_json(folder / FILE, {"starts": [*read_origin(folder), start]})


def read_origin(folder: Path) -> list[dict[str, Any]]:
    """The starts of a run, the first one first; none for a run of an earlier version."""
    file = folder / FILE
    if not file.exists():
        return []
    try:
        starts: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["starts"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{file} is damaged; delete it, and the run's card goes without") from None
    return starts


def origin_of_run(folder: Path) -> dict[str, Any]:
    """What a checkpoint says of its origin: version, commit, and SHA-256 of settings and data."""
    starts = read_origin(folder)
    start = starts[-1] if starts else {"vjepa": vjepa.__version__, "commit": commit_of(CHECKOUT), "data": []}
    settings = folder / SETTINGS
    return {
        "vjepa": start["vjepa"],
        "commit": start["commit"],
        "settings": fingerprint(str(settings)) if settings.exists() else None,
        "data": {each["path"]: each["sha256"] for each in start["data"]},
    }


def described(origin: dict[str, Any]) -> str:
    """A checkpoint's origin in words."""
    words = f"written by vjepa {origin['vjepa']}"
    return words + (f" at commit {origin['commit'][:9]}" if origin["commit"] else "")


def fingerprint(path: str) -> str | None:
    """SHA-256 of a file's content, or of the names and sizes of a folder's files; None if remote or missing."""
    if is_remote(path) or not os.path.exists(path):
        return None
    if os.path.isfile(path):
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(path):
        folders.sort()
        for name in sorted(files):
            file_path = os.path.join(folder, name)
            inside = os.path.relpath(file_path, path).replace(os.sep, "/")
            if not is_clutter(inside):
                digest.update(f"{inside}\t{os.lstat(file_path).st_size}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


def commit_of(checkout: Path) -> str | None:
    """The commit of a checkout, with "+ changes" if tracked files differ from it; None where there is none."""
    if not (checkout / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(checkout), *command], capture_output=True, text=True, check=True).stdout
            for command in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.strip() + (" + changes" if changes.strip() else "")


def _sources(data: LightningDataModule | None) -> dict[str, str]:
    if isinstance(data, EpisodeDataModule):
        return {"episodes": data.root}
    if not isinstance(data, ClipDataModule):
        return {}
    rest = {"validation": data.val_manifest, "test": data.test_manifest}
    named = {f"training: {source.title}": source.manifest for source in data.training_sources}
    return named | {name: manifest for name, manifest in rest.items() if manifest is not None}


def _device(trainer: Trainer) -> str:
    if trainer.strategy.root_device.type == "cuda":
        return f"{trainer.world_size} x {torch.cuda.get_device_name(trainer.strategy.root_device)}"
    return f"{trainer.world_size} x {trainer.strategy.root_device.type}, {torch.get_num_threads()} threads each"


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
