"""Clips by position: source, row, frames, crop and flip all follow from (seed, position)."""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from vjepa.data.clips.cuts import Cut, Cuts
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.quarantine import Failure
from vjepa.data.clips.views import ViewSettings, cut_view
from vjepa.data.manifest.manifest import Manifest
from vjepa.data.order import MixtureOrder, SampleKey
from vjepa.data.randomness import Purpose, generator_for
from vjepa.data.video.facts import FileOrBytes, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain
from vjepa.data.video.storage import Version, fetch, version_of
from vjepa.data.video.transforms import crop_resize
from vjepa.data.video.video_cache import VideoCache

MAX_REPLACEMENTS = 20
CACHED_SCANS = 50_000  # files per worker
log = logging.getLogger(__name__)
ViewPixels = UInt8[Tensor, "V 3 T h w"] | None  # None: the clip itself
CutClip = tuple[Cut, UInt8[Tensor, "3 T H W"], list[ViewPixels]]


class Clip(NamedTuple):
    pixels: UInt8[Tensor, "3 T H W"]
    label: int
    source: int
    row: int
    seconds: float  # of the file, that the clip covers
    number: int  # among the clips of its file
    key: SampleKey
    failures: list[Failure]  # unreadable files that this one replaces
    views: list[ViewPixels]  # one per `ViewSettings`


@dataclass(frozen=True)
class ClipSource:
    """A manifest, and the frames of a clip from its files."""

    name: str
    manifest: Manifest
    frames: FrameSampling


class ClipDataset(Dataset[list[Clip]]):
    """Cuts the clips of one file for each key.

    A file that can't be read is replaced by another row of its source, drawn from (seed, position), and listed in the
    clips' `failures`.
    """

    def __init__(
        self,
        sources: Sequence[ClipSource],
        order: MixtureOrder,
        cuts: Cuts,
        readers: ReaderChain | VideoCache,
        views: Sequence[ViewSettings] = (),
    ):
        self.sources = list(sources)
        self.order = order
        self.cuts = cuts
        self.readers = readers
        self.views = views
        self._scans: dict[tuple[str, Version], VideoFacts] = {}
        # Sources with a file that is not the one that was listed; shared, so that one worker tells of it.
        self._outdated = torch.zeros(len(self.sources), dtype=torch.bool).share_memory_()

    def __getitem__(self, key: SampleKey) -> list[Clip]:
        number, row = self.order.draw(key.position)
        source = self.sources[number]
        failures: list[Failure] = []
        for attempt in range(MAX_REPLACEMENTS):
            if attempt:
                row = self.order.orders[number].replacement(key.position, attempt)
            try:
                clips = self._cut(number, row, key.position, attempt)
            except VideoError as error:
                failures.append(Failure(source.name, source.manifest.paths[row], str(error)))
                continue
            label = int(source.manifest.labels[row])
            return [
                Clip(pixels, label, number, row, cut.seconds, k, key, failures if k == 0 else [], views)
                for k, (cut, pixels, views) in enumerate(clips)
            ]
        tried = {failure.path: failure.reason for failure in failures}
        first = "; ".join(f"{path}: {reason}" for path, reason in islice(tried.items(), 3))
        raise ValueError(
            f"none of the {len(tried)} files of {source.manifest.source} that were tried can be read: {first} "
            f"(`vjepa doctor` checks them all)"
        )

    def _cut(self, number: int, row: int, position: int, attempt: int) -> list[CutClip]:
        source = self.sources[number]
        path = source.manifest.paths[row]
        version = version_of(path)
        video = fetch(path)

        def clips(facts: VideoFacts) -> list[CutClip]:
            generator = generator_for(self.order.orders[0].seed, Purpose.CLIP, position, attempt)
            cuts = self.cuts.plan(facts, source.frames, source.manifest.window(row), generator)
            return [
                (
                    cut,
                    torch.from_numpy(self.cuts.finish(clip, cut, generator)),
                    self._cut_views(whole, cut, (position, attempt, k)),
                )
                for k, (cut, clip, whole) in enumerate(self._decode(video, facts, cuts))
            ]

        known = source.manifest.facts(row)
        if known is not None and source.manifest.is_as_scanned(row, version):
            try:
                return clips(known)
            except VideoError:
                pass  # not every manifest tells that a file has changed
        if (path, version) not in self._scans:
            if len(self._scans) >= CACHED_SCANS:
                self._scans.clear()
            self._scans[path, version] = self.readers.scan(video)
        facts = self._scans[path, version]
        if known not in (None, facts) and not self._outdated[number]:
            self._outdated[number] = True
            log.warning(
                f"{path} is not the file that {source.manifest.source} describes: such files are scanned again, once "
                f"per worker (`vjepa manifest` lists them anew)"
            )
        return clips(facts)

    def _decode(
        self, video: FileOrBytes, facts: VideoFacts, cuts: list[Cut]
    ) -> Iterator[tuple[Cut, UInt8[np.ndarray, "T h w 3"], UInt8[np.ndarray, "T H W 3"]]]:
        """Each clip's crop, and the frames that its views are cut from."""
        size = self.cuts.crop_size
        if len(cuts) == 1 and not any(settings.crop_size for settings in self.views):
            # A reader may crop and resize where it is cheapest.
            clip = self.readers.decode(video, facts, cuts[0].frame_ids.tolist(), cuts[0].box, size)
            yield cuts[0], clip, clip
            return
        frame_ids = sorted({frame_id for cut in cuts for frame_id in cut.frame_ids.tolist()})
        frames = self.readers.decode(video, facts, frame_ids)  # whole frames, once for all clips and views
        for cut in cuts:
            whole = frames[np.searchsorted(frame_ids, cut.frame_ids)]
            yield cut, crop_resize(whole, cut.box, size), whole

    def _cut_views(self, frames: UInt8[np.ndarray, "T H W 3"], cut: Cut, clip: tuple[int, ...]) -> list[ViewPixels]:
        seed = self.order.orders[0].seed
        views: list[ViewPixels] = []
        for number, settings in enumerate(self.views):
            crops = [
                cut_view(frames, settings, cut.flip, generator_for(seed, Purpose.CROP_OF_VIEW, number, *clip, view))
                for view in range(settings.number if settings.crop_size else 0)
            ]
            views.append(torch.from_numpy(np.stack(crops)) if crops else None)
        return views
