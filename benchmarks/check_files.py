"""Every file of a folder through readers, dataset and doctor, its frames held against the ffmpeg command's.

    python -m benchmarks.check_files FOLDER [--table docs/results/odd_files.csv]

A file is right if a scan tells as many frames as ffmpeg gives out and those that are compared differ by at most 3 of
255 (video of more than 8 bits is compared too, with its difference shown, but not judged), or if all three refuse it.
A file that is whole in parts gives its good frames, which are compared, and the doctor leaves it out.
"""

import argparse
import csv
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests.ffmpeg import frames_at, largest_difference
from vjepa.data.clips.cuts import TrainingCuts
from vjepa.data.clips.dataset import ClipDataset, ClipSource
from vjepa.data.clips.frame_sampling import FrameSampling
from vjepa.data.clips.quarantine import Failure
from vjepa.data.manifest.doctor import examine
from vjepa.data.manifest.manifest import read_manifest
from vjepa.data.order import MixtureOrder, RowOrder, SampleKey
from vjepa.data.video.facts import Trait, VideoError, VideoFacts
from vjepa.data.video.reader import ReaderChain

ROUNDING = 3
COMPARED = 16  # frames of each file, spread evenly


class Checked(NamedTuple):
    """What became of a file."""

    path: str
    facts: VideoFacts | None
    reader: str
    ffmpeg_frames: int
    difference: int | None  # largest of the compared frames; None where ffmpeg does not give them all out
    reason: str  # why it, or a frame of it, can't be read; empty where all can
    disagreement: str = ""  # what dataset or doctor make of it that does not fit

    @property
    def is_right(self) -> bool:
        if self.disagreement:
            return False
        if self.facts is None:
            return True  # refused, with a reason
        if self.reason:
            return self.difference is None or self.difference <= ROUNDING
        if not self.ffmpeg_frames:
            return self.facts.codec == "vvc"  # which not every build of ffmpeg decodes
        if "10" in self.facts.pixel_format or "12" in self.facts.pixel_format:
            return self.facts.num_frames == self.ffmpeg_frames
        return (
            self.facts.num_frames == self.ffmpeg_frames and self.difference is not None and self.difference <= ROUNDING
        )


def check_reading(path: str, chain: ReaderChain) -> Checked:
    try:
        facts = chain.scan(path)
    except VideoError as error:
        return Checked(path, None, "", frames_at(path, [])[1], None, str(error))
    reader = chain.reader_of(facts)
    name = reader.name if reader else ""
    frame_ids = sorted(set(np.linspace(0, facts.num_frames - 1, COMPARED).astype(int).tolist()))
    theirs, count = frames_at(path, frame_ids)
    ours, reason = {}, ""
    try:
        ours = dict(zip(frame_ids, chain.decode(path, facts, frame_ids), strict=True))
    except VideoError as error:
        reason = str(error)
        for frame_id in frame_ids:
            with suppress(VideoError):
                [ours[frame_id]] = chain.decode(path, facts, [frame_id])
    pairs = [(frame, theirs[k]) for k, frame in ours.items() if k in theirs]
    if any(frame.shape != other.shape for frame, other in pairs):
        return Checked(path, facts, name, count, 255, reason)
    differences = [largest_difference(*pair) for pair in pairs]
    return Checked(
        path, facts, name, count, max(differences, default=None) if len(pairs) == len(ours) else None, reason
    )


def clips_of(paths: list[str], listing: Path, chain: ReaderChain) -> dict[str, list[Failure]]:
    """What a training run meets at each file: nothing, or its failure, for which another file took its place."""
    with listing.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        csv.writer(file).writerows([["path"], *([path] for path in paths)])
    manifest = read_manifest(listing)
    source = ClipSource("files", manifest, FrameSampling(8, frame_step=2))
    order = MixtureOrder([RowOrder(len(manifest), seed=0, shuffle=False)])
    dataset = ClipDataset([source], order, TrainingCuts((64, 64)), chain)
    failures = {}
    for row, path in enumerate(paths):
        try:
            [clip] = dataset[SampleKey(row, row)]
        except ValueError as error:  # nor can one of many others
            failures[path] = [Failure("files", path, str(error))]
            continue
        assert clip.pixels.shape == (3, 8, 64, 64)
        failures[path] = [failure for failure in clip.failures if failure.path == path]
        assert bool(failures[path]) == (clip.row != row)
    return failures


def disagreement(file: Checked, failures: list[Failure], is_clean: bool) -> str:
    """What does not fit to a file's reading: in the clip of it, or in whether the doctor keeps it."""
    if file.facts is None and not failures:
        return "the dataset reads it"
    if not file.reason and failures:
        return f"the dataset says {failures[0].reason}"
    if file.reason and is_clean:
        return "the doctor keeps it"
    if file.facts is None or file.reason or Trait.DAMAGED in file.facts.traits:
        return ""
    return "the doctor leaves it out" if file.facts.num_frames > 1 and not is_clean else ""


def check_folder(folder: Path, workspace: Path, paths: list[str] | None = None) -> list[Checked]:
    """All files of a folder, or those named."""
    paths = paths or sorted(
        str(path.absolute()) for path in folder.rglob("*") if path.is_file() and path.suffix != ".csv"
    )
    chain = ReaderChain(time_limit=60)
    with ThreadPoolExecutor(2) as pool:  # decoders and the ffmpeg command work outside of the interpreter's lock
        checked = list(pool.map(lambda path: check_reading(path, chain), paths))
    failures = clips_of(paths, workspace / "list.csv", chain)
    examine(str(workspace / "list.csv"), workspace / "doctor")
    with (workspace / "doctor" / "clean.csv").open(newline="", encoding="utf-8", errors="surrogateescape") as table:
        clean = {row["path"] for row in csv.DictReader(table)}
    return [file._replace(disagreement=disagreement(file, failures[file.path], file.path in clean)) for file in checked]


def write_table(checked: list[Checked], folder: Path, path: Path) -> None:
    """A row for each file: its frames and reader and the largest difference of 255, or why it is refused."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(("file", "what", "frames", "reader", "difference", "reason"))
        for each in checked:
            name, facts = Path(each.path).relative_to(folder), each.facts
            if facts is None or each.reason:
                table.writerow((name, "", "", "", "", each.reason))
                continue
            traits = " ".join(sorted(trait.value for trait in facts.traits if trait.value != "reordered"))
            what = f"{facts.codec} {facts.pixel_format} {facts.width}x{facts.height} {traits}".strip()
            difference = "the ffmpeg command can't read it" if each.difference is None else each.difference
            table.writerow((name, what, facts.num_frames, each.reader, difference, ""))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--table", type=Path, help="write a CSV table here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as workspace:
        checked = check_folder(arguments.folder, Path(workspace))
    if arguments.table:
        write_table(checked, arguments.folder.absolute(), arguments.table)
    wrong = [file for file in checked if not file.is_right]
    refused = sum(file.facts is None for file in checked)
    in_parts = sum(bool(file.reason) for file in checked) - refused
    print(f"{len(checked)} files, {refused} refused, {in_parts} whole in parts, {len(wrong)} wrong")
    for file in wrong:
        print(f"{file.path}: {file.disagreement or f'frames differ by {file.difference}'}")


if __name__ == "__main__":
    main()
