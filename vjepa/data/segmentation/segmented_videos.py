"""Videos and images with masks, for dense evaluation: whole frames, resized, beside masks of the files' own size."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePath
from typing import Literal, NamedTuple, final

import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from vjepa.data.segmentation.listing import Entry, FolderPatterns, entries_of_folder, entries_of_manifest
from vjepa.data.segmentation.mask_files import VOID, Masks, read_masks
from vjepa.data.video import storage
from vjepa.data.video.facts import VideoError
from vjepa.data.video.image_reader import IMAGE_SUFFIXES
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.data.video.transforms import crop_resize

Split = Literal["train", "test"]


class SegmentedVideo(NamedTuple):
    """Frames of a video, or one image, with masks."""

    name: str
    frames: UInt8[Tensor, "T 3 h w"]  # resized
    masks: Masks  # (T, H, W) of the file's size; VOID where pixels or whole frames have no label

    @property
    def labelled(self) -> Bool[np.ndarray, " T"]:
        """Which frames have a mask."""
        return (self.masks != VOID).any(axis=(1, 2))


@final
@dataclass(kw_only=True, eq=False, repr=False)
class SegmentedVideos:
    """Videos with masks: heads learn on `train`; everything is scored on `test`.

    Args:
        test_manifest: a CSV or Parquet file with columns `path` and `mask`, paths of files or of folders with an image
            for each frame (see `vjepa.data.segmentation.mask_files`), or a dataset's folder, for `videos` and `masks`.
        train_manifest: the same for training; rows of `train_split` of `test_manifest` if None.
        test_split: use only rows with this value in the column `split`, or put it for {split} in patterns.
        train_split: the same for training; without it and a train_manifest there is no training.
        root: folder that paths in manifests are relative to; each manifest's own folder if None.
        videos: pattern of the paths of videos or images below a folder, such as JPEGImages/480p/{name}.
        masks: the same for their masks.
        names: the same for a text file that lists the names; all that match `videos` if None.
        size: height and width that whole frames are resized to before they are encoded.
        num_classes: classes of the heads, numbered by pixels from `first_class`; None for background (0) and object
            (any other number).
        first_class: number of the first class.
        void: numbers of pixels that have no label.
        max_train: use at most so many training videos, evenly spaced over the list; all if None.
        max_test: the same for testing.
        readers: in order of preference: decord, pyav, torchcodec.
        decode_time_limit: seconds after which a reader that does not return is abandoned; never if None.
    """

    test_manifest: str
    train_manifest: str | None = None
    test_split: str | None = None
    train_split: str | None = None
    root: str | None = None
    videos: str | None = None
    masks: str | None = None
    names: str | None = None
    size: tuple[int, int] = (224, 224)
    num_classes: int | None = None
    first_class: int = 0
    void: list[int] = field(default_factory=lambda: [255])
    max_train: int | None = None
    max_test: int | None = None
    readers: list[ReaderName] = field(default_factory=lambda: ["decord", "pyav"])
    decode_time_limit: float | None = 60.0

    def __post_init__(self) -> None:
        for name in ("num_classes", "max_train", "max_test"):
            value = getattr(self, name)
            if value is not None and value < (2 if name == "num_classes" else 1):
                raise ValueError(f"{name} ({value}) must be at least {2 if name == 'num_classes' else 1}, or null")
        if (self.videos is None) != (self.masks is None):
            raise ValueError("a folder needs both patterns, of videos and of masks: --data.videos and --data.masks")
        if self.train_split and not self.test_split and not self.train_manifest:
            raise ValueError(f"train_split ({self.train_split}) without a test_split: both would share videos")
        self._readers = ReaderChain(self.readers, self.decode_time_limit)

    @property
    def class_names(self) -> list[str]:
        if self.num_classes is None:
            return ["background", "object"]
        return [str(number) for number in range(self.first_class, self.first_class + self.num_classes)]

    @cached_property
    def test(self) -> list[Entry]:
        return self._entries(self.test_manifest, self.test_split, self.max_test)

    @cached_property
    def train(self) -> list[Entry]:
        """Empty where no training videos are given. Raises ValueError where a video is in both splits."""
        if self.train_manifest is None and self.train_split is None:
            return []
        entries = self._entries(self.train_manifest or self.test_manifest, self.train_split, self.max_train)
        shared = {entry.path for entry in entries} & {entry.path for entry in self.test}
        if shared:
            raise ValueError(f"{min(shared)} is both in the training and in the test videos")
        return entries

    def read(self, entry: Entry) -> SegmentedVideo:
        """Decode a video. Raises ValueError where it or its masks can't be read or don't fit each other."""
        frames, names, file_size = self._frames(entry.path)
        masks = read_masks(entry.mask, names)
        if masks.shape[1:] != file_size:
            height, width = masks.shape[1:]
            raise ValueError(
                f"masks of {entry.mask} are {width}x{height}, and frames of {entry.path} are "
                f"{file_size[1]}x{file_size[0]}; both must have one size"
            )
        masks[np.isin(masks, self.void)] = VOID
        video = SegmentedVideo(entry.name, frames, masks)
        if not video.labelled.any():
            raise ValueError(f"{entry.mask} has no labelled pixel: all are void ({self.void})")
        return video

    def classes(self, masks: Masks) -> Int64[np.ndarray, "T H W"]:
        """Class numbers from 0, VOID where there is no label. Raises ValueError for a number that is no class."""
        if self.num_classes is None:
            return np.where(masks == VOID, VOID, masks > 0).astype(np.int64)
        classes = np.where(masks == VOID, VOID, masks - self.first_class).astype(np.int64)
        wrong = (masks != VOID) & ((classes < 0) | (classes >= self.num_classes))
        if wrong.any():
            raise ValueError(
                f"a mask has pixels of {masks[wrong][0]}, which is neither one of the {self.num_classes} classes from "
                f"{self.first_class} nor void ({self.void})"
            )
        return classes

    def _entries(self, source: str, split: str | None, most: int | None) -> list[Entry]:
        if self.videos is None or self.masks is None:
            entries = entries_of_manifest(source, self.root, split)
        else:
            entries = entries_of_folder(source, FolderPatterns(self.videos, self.masks, self.names), split)
        if most is None or most >= len(entries):
            return entries
        return [entries[i * len(entries) // most] for i in range(most)]

    def _frames(self, path: str) -> tuple[UInt8[Tensor, "T 3 h w"], Sequence[str], tuple[int, int]]:
        """Resized frames, their names, and the size that they have in the file."""
        if storage.is_folder(path):
            files = [file for file, _ in storage.files_below(path) if PurePath(file).suffix.lower() in IMAGE_SUFFIXES]
            if not files:
                raise ValueError(f"the folder {path} holds no images")
            decoded = [self._decoded(file) for file in files]
            sizes = {size for _, size in decoded}
            if len(sizes) > 1:
                raise ValueError(f"frames in {path} have several sizes: {', '.join(f'{w}x{h}' for h, w in sizes)}")
            return torch.cat([each for each, _ in decoded]), [PurePath(file).stem for file in files], sizes.pop()
        if not storage.exists(path):
            raise ValueError(f"there is no video {path}")
        frames, size = self._decoded(path)
        return frames, [str(number) for number in range(len(frames))], size

    def _decoded(self, path: str) -> tuple[UInt8[Tensor, "T 3 h w"], tuple[int, int]]:
        try:
            source = storage.fetch(path)
            facts = self._readers.scan(source)
            frames = self._readers.decode(source, facts, range(facts.num_frames))
        except VideoError as error:
            raise ValueError(f"{path} can't be read: {error}") from None
        resized = crop_resize(frames, None, self.size)
        return torch.from_numpy(np.ascontiguousarray(resized.transpose(0, 3, 1, 2))), frames.shape[1:3]
