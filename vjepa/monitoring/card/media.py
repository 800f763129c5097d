"""Pictures and films of a run as data URIs: those that it logged, and those that evaluations wrote into its folder."""

from base64 import b64encode
from pathlib import Path
from typing import NamedTuple

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".mp4": "video/mp4"}
LARGEST = 4_000_000  # bytes of a file
MOST = 24  # files of evaluations


class Medium(NamedTuple):
    name: str
    caption: str
    uri: str
    is_film: bool = False


def logged_pictures(run: Path) -> dict[str, list[Medium]]:
    """The first and the last picture of each name in a run's TensorBoard events."""
    events = EventAccumulator(str(run), size_guidance={"images": 0})
    events.Reload()
    found: dict[str, list[Medium]] = {}
    for tag in events.Tags()["images"]:
        drawn = {event.step: event.encoded_image_string for event in events.Images(tag)}
        name = tag.removeprefix("pictures/")
        for step in dict.fromkeys((min(drawn), max(drawn))):
            found.setdefault(name, []).append(Medium(name, f"step {step}", _uri(drawn[step], "image/png")))
    return found


def written_media(run: Path) -> tuple[list[Medium], list[str]]:
    """Pictures and films of evaluations, and the names of those that are left out for their size or number."""
    media: list[Medium] = []
    left_out: list[str] = []
    files = [file for file in sorted(run.rglob("*")) if file.suffix.lower() in TYPES and file.is_file()]
    for file in files:
        name = str(file.relative_to(run))
        if file.stat().st_size > LARGEST or len(media) == MOST:
            left_out.append(name)
        else:
            kind = TYPES[file.suffix.lower()]
            media.append(Medium(name, file.parent.name, _uri(file.read_bytes(), kind), kind.startswith("video")))
    return media, left_out


def _uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
