"""The parameters that all sources of clips share: for pretraining, for probes, for anticipation."""

from dataclasses import dataclass, field

from vjepa.data.clips.augmentation import RandAugment
from vjepa.data.clips.cuts import TrainingCuts
from vjepa.data.video.reader import ReaderChain, ReaderName


@dataclass(kw_only=True, eq=False, repr=False)
class ClipSettings:
    """Manifests, shape of clips, training crops and augmentation, decoding.

    Args:
        train_manifest: CSV, Parquet or list file, or a folder (see `vjepa.data.manifest.manifest`).
        val_manifest: the same for validation.
        test_manifest: the same for testing.
        train_split: use only rows with this value in the manifest's `split` column.
        val_split: the same for validation.
        test_split: the same for testing.
        root: folder that paths in manifests are relative to; each manifest's own folder if None.
        num_frames: frames of a clip.
        crop_size: height and width of a clip in pixels.
        fps: frames per second of a clip.
        crop_scale: range of the fraction of a frame's area that a training crop covers.
        crop_aspect_ratio: range of a training crop's width over height.
        flip_probability: of mirroring a training clip.
        rand_augment: timm policy for training clips, such as "rand-m7-n4-mstd0.5-inc1"; none if None.
        erase_probability: of erasing a random box of a training clip.
        num_workers: decoding processes per rank.
        seed: of every random choice.
        readers: in order of preference: decord, pyav, torchcodec.
        decode_time_limit: seconds after which a reader that does not return is abandoned; never if None.
    """

    train_manifest: str | None = None
    val_manifest: str | None = None
    test_manifest: str | None = None
    train_split: str | None = None
    val_split: str | None = None
    test_split: str | None = None
    root: str | None = None
    num_frames: int = 16
    crop_size: tuple[int, int] = (224, 224)
    fps: float | None = None
    crop_scale: tuple[float, float] = (0.3, 1.0)
    crop_aspect_ratio: tuple[float, float] = (0.75, 1.35)
    flip_probability: float = 0.5
    rand_augment: str | None = None
    erase_probability: float = 0.0
    num_workers: int = 2
    seed: int = 0
    readers: list[ReaderName] = field(default_factory=lambda: ["decord", "pyav"])
    decode_time_limit: float | None = 60.0

    def __post_init__(self) -> None:
        self.reader_chain = ReaderChain(self.readers, self.decode_time_limit)

    def random_cuts(self, clips_per_video: int = 1, color_jitter: float = 0.0) -> TrainingCuts:
        return TrainingCuts(
            self.crop_size,
            self.crop_scale,
            self.crop_aspect_ratio,
            self.flip_probability,
            clips_per_video,
            RandAugment(self.rand_augment) if self.rand_augment else None,
            self.erase_probability,
            color_jitter,
        )

    def require_positive(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} ({getattr(self, name)}) must be at least 1")
