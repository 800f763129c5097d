"""Videos with masks from manifests and from folders in the layouts of DAVIS, YouTube-VOS and ADE20K."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vjepa.data.segmentation.mask_files import VOID
from vjepa.data.segmentation.segmented_videos import SegmentedVideos
from vjepa.data.video.encoding import encode_video

SIZE = (16, 24)


def write_frame(path: Path, value: int = 100, size: tuple[int, int] = SIZE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


def write_mask(path: Path, values: np.ndarray, palette: bool = True) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values.astype(np.uint8), "P" if palette else "L")
    if palette:
        image.putpalette([0, 0, 0, 236, 95, 103, 249, 145, 87] * 85 + [0])
    image.save(path)


def numbered(*numbers: int) -> np.ndarray:
    """A mask with a column of four pixels for each number, the rest 0."""
    mask = np.zeros(SIZE, np.int32)
    for place, number in enumerate(numbers):
        mask[:, 4 * place : 4 * place + 4] = number
    return mask


@pytest.fixture
def davis(tmp_path: Path) -> Path:
    """Two sequences of three frames, one of them in the list."""
    for name in ("bear", "camel"):
        for frame in range(3):
            write_frame(tmp_path / f"JPEGImages/480p/{name}/{frame:05d}.jpg", 50 * frame)
            write_mask(tmp_path / f"Annotations/480p/{name}/{frame:05d}.png", numbered(1, 2, frame))
    names = tmp_path / "ImageSets/2017/val.txt"
    names.parent.mkdir(parents=True)
    names.write_text("camel\n")
    return tmp_path


def as_davis(folder: Path, **settings) -> SegmentedVideos:
    patterns = {"videos": "JPEGImages/480p/{name}", "masks": "Annotations/480p/{name}"}
    return SegmentedVideos(test_manifest=str(folder), **(patterns | {"size": (8, 16)} | settings))


def test_davis_sequences_are_those_of_the_list(davis: Path):
    videos = as_davis(davis, names="ImageSets/2017/{split}.txt", test_split="val")
    (entry,) = videos.test
    video = videos.read(entry)
    assert video.name == "camel" and video.frames.shape == (3, 3, 8, 16) and video.masks.shape == (3, *SIZE)
    assert abs(int(video.frames[2].float().mean()) - 100) < 3 and video.labelled.all()
    assert (video.masks[2] == numbered(1, 2, 2)).all(), "indices of the palette, not colours"
    assert [entry.name for entry in as_davis(davis).test] == ["bear", "camel"], "without a list all of them"


def test_youtube_vos_has_masks_of_some_frames(tmp_path: Path):
    for frame in range(0, 30, 5):
        write_frame(tmp_path / f"train/JPEGImages/003234408d/{frame:05d}.jpg")
    for frame, numbers in ((5, (1,)), (15, (1, 3))):
        write_mask(tmp_path / f"train/Annotations/003234408d/{frame:05d}.png", numbered(*numbers))
    patterns = {"videos": "{split}/JPEGImages/{name}", "masks": "{split}/Annotations/{name}", "test_split": "train"}
    videos = as_davis(tmp_path, **patterns)
    video = videos.read(videos.test[0])
    assert len(video.frames) == 6 and np.flatnonzero(video.labelled).tolist() == [1, 3]
    assert (video.masks[0] == VOID).all() and (video.masks[3] == numbered(1, 3)).all()


def test_ade20k_images_have_classes_from_one(tmp_path: Path):
    for split, name, values in (("training", "a", (1, 150, 0)), ("validation", "b", (7, 0, 2))):
        write_frame(tmp_path / f"images/{split}/{name}.jpg")
        mask = numbered(*values)
        mask[mask == 0] = 3
        mask[0] = 0
        write_mask(tmp_path / f"annotations/{split}/{name}.png", mask, palette=False)
    videos = as_davis(
        tmp_path,
        videos="images/{split}/{name}.jpg",
        masks="annotations/{split}/{name}.png",
        train_split="training",
        test_split="validation",
        num_classes=150,
        first_class=1,
        void=[0],
    )
    assert [entry.name for entry in videos.train] == ["a"] and [entry.name for entry in videos.test] == ["b"]
    video = videos.read(videos.test[0])
    classes = videos.classes(video.masks)
    assert video.frames.shape[0] == 1 and np.unique(classes).tolist() == [-1, 1, 2, 6]
    assert (classes[0, 0] == VOID).all() and len(videos.class_names) == 150
    videos.num_classes = 5
    with pytest.raises(ValueError, match="pixels of 7, which is neither one of the 5 classes from 1 nor void"):
        videos.classes(video.masks)


def test_a_manifest_names_videos_and_masks(tiny_world: Path):
    videos = SegmentedVideos(test_manifest=str(tiny_world / "test.csv"), size=(32, 32), max_test=3)
    assert [entry.name for entry in videos.test] == [
        "videos/test/00000.mp4",
        "videos/test/00002.mp4",
        "videos/test/00004.mp4",
    ]
    video = videos.read(videos.test[1])
    assert video.frames.shape == (12, 3, 32, 32) and video.masks.shape == (12, 32, 32)
    assert np.unique(videos.classes(video.masks)).tolist() == [0, 1]


def test_splits_of_one_manifest(tmp_path: Path):
    (tmp_path / "all.csv").write_text("path,mask,split\na.mp4,a.npz,train\nb.mp4,b.npz,val\n")
    videos = SegmentedVideos(test_manifest=str(tmp_path / "all.csv"), train_split="train", test_split="val")
    assert [entry.path for entry in videos.train] == [str(tmp_path / "a.mp4")]
    assert [entry.mask for entry in videos.test] == [str(tmp_path / "b.npz")]
    with pytest.raises(ValueError, match="is both in the training and in the test videos"):
        _ = SegmentedVideos(test_manifest=str(tmp_path / "all.csv"), train_manifest=str(tmp_path / "all.csv")).train


def test_the_void_number_is_no_label(davis: Path):
    mask = numbered(1, 255)
    write_mask(davis / "Annotations/480p/bear/00001.png", mask)
    entry = as_davis(davis).test[0]
    assert (as_davis(davis).read(entry).masks[1][mask == 255] == VOID).all()
    assert (as_davis(davis, void=[]).read(entry).masks[1] == mask).all(), "DAVIS-2016: 255 is the object"


def spoilt(folder: Path, kind: str) -> None:
    """Make the masks of `bear` unreadable in one way."""
    masks = folder / "Annotations/480p/bear"
    if kind == "size":
        for file in masks.iterdir():
            write_mask(file, np.zeros((8, 8)))
    elif kind == "one size":
        write_mask(masks / "00001.png", np.zeros((8, 8)))
    elif kind == "none":
        for file in masks.iterdir():
            file.unlink()
    elif kind == "missing":
        masks.rename(masks.with_name("elsewhere"))
    elif kind == "name":
        (masks / "00002.png").rename(masks / "00007.png")
        (masks / "00001.png").unlink()
    elif kind == "colours":
        write_frame(masks / "00001.png")
    elif kind == "text":
        (masks / "00001.png").write_text("no image")
    elif kind == "void":
        for file in masks.iterdir():
            write_mask(file, np.full(SIZE, 255))
    elif kind == "frames":
        write_frame(folder / "JPEGImages/480p/bear/00001.jpg", size=(8, 8))


@pytest.mark.parametrize(
    ("kind", "sentence"),
    [
        ("size", r"masks of .*/bear are 8x8, and frames of .*/bear are 24x16; both must have one size"),
        ("one size", r"00001.png is 8x8, and .*00000.png is 24x16"),
        ("none", r"the folder .*/bear holds no masks"),
        ("missing", r"there is no mask .*/bear"),
        ("name", r"00007.png is named as none of its video's 3 frames \(00000, ...\), and the 2 masks"),
        ("colours", r"the mask .*00001.png is an image of colours or fractions \(mode RGB\)"),
        ("text", r"the mask .*00001.png can't be read as an image"),
        ("void", r"bear has no labelled pixel: all are void"),
        ("frames", r"frames in .*/bear have several sizes"),
    ],
)
def test_masks_that_do_not_fit_are_named(davis: Path, kind: str, sentence: str):
    spoilt(davis, kind)
    videos = as_davis(davis)
    with pytest.raises(ValueError, match=sentence):
        videos.read(videos.test[0])


def test_masks_beside_a_video_are_counted(tmp_path: Path):
    encode_video(tmp_path / "a.mp4", np.zeros((5, 16, 16, 3), np.uint8), 10)
    (tmp_path / "all.csv").write_text("path,mask\na.mp4,a.npz\n")
    videos = SegmentedVideos(test_manifest=str(tmp_path / "all.csv"), size=(16, 16))
    for masks, sentence in (
        ({"mask": np.zeros((4, 16, 16), np.uint8)}, r"a.npz has masks of 4 frames, and its video has 5"),
        ({"mask": np.zeros((5, 16, 16))}, r"'mask' in .*a.npz is float64 of shape \(5, 16, 16\)"),
        ({"other": np.zeros(3)}, r"a.npz is no archive of masks with an array 'mask'"),
    ):
        np.savez(tmp_path / "a.npz", **masks)
        with pytest.raises(ValueError, match=sentence):
            videos.read(videos.test[0])
    for number in range(5):
        write_mask(tmp_path / f"masks/{10 + number}.png", np.full((16, 16), number), palette=False)
    entry = videos.test[0]._replace(mask=str(tmp_path / "masks"))
    assert videos.read(entry).masks[:, 0, 0].tolist() == [0, 1, 2, 3, 4], "one for each frame, in order"
    with pytest.raises(ValueError, match=r"there is no video .*b.mp4"):
        videos.read(entry._replace(path=str(tmp_path / "b.mp4")))


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"names": "{split}.txt"}, "depends on the split, and none is given"),
        ({"names": "no.txt"}, "there is no list of names"),
        ({"videos": "JPEG/{name}"}, "holds nothing that matches JPEG/{name}"),
        ({"masks": "masks"}, "'masks' must have {name} once"),
        ({"videos": None}, "a folder needs both patterns"),
        ({"videos": None, "masks": None}, "is a folder: say where it has videos and masks"),
        ({"test_manifest": "no/such"}, "there is no folder no/such"),
        ({"max_test": 0}, r"max_test \(0\) must be at least 1"),
        ({"num_classes": 1}, r"num_classes \(1\) must be at least 2"),
        ({"train_split": "train"}, r"train_split \(train\) without a test_split"),
    ],
)
def test_settings_that_do_not_fit_are_named(davis: Path, settings, sentence: str):
    with pytest.raises(ValueError, match=sentence):
        _ = (
            as_davis(davis, **settings).test
            if "test_manifest" not in settings
            else SegmentedVideos(videos="a/{name}", masks="b/{name}", **settings).test
        )


def test_a_manifest_without_masks_is_refused(tmp_path: Path):
    for text, sentence in (
        ("path,label\na.mp4,1\n", "has no column 'mask'"),
        ("path,mask\na.mp4,\n", "line 2 of .* names no mask"),
        ("path,mask\n", "lists no video"),
    ):
        (tmp_path / "all.csv").write_text(text)
        with pytest.raises(ValueError, match=sentence):
            _ = SegmentedVideos(test_manifest=str(tmp_path / "all.csv")).test
    with pytest.raises(ValueError, match="has no column 'split'"):
        (tmp_path / "all.csv").write_text("path,mask\na.mp4,a.npz\n")
        _ = SegmentedVideos(test_manifest=str(tmp_path / "all.csv"), test_split="val").test
