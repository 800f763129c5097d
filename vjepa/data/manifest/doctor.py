"""`vjepa doctor`: what is wrong with a dataset before it is trained on, and a manifest of the good files."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vjepa.data.atomic_file import new_file, write_table
from vjepa.data.manifest.annotations import COLUMNS
from vjepa.data.manifest.duplicates import near_duplicates
from vjepa.data.manifest.file_check import FileReport
from vjepa.data.manifest.manifest import Manifest, read_manifest
from vjepa.data.manifest.writing import FOUND_COLUMNS, found_columns, listed_columns, scan_files
from vjepa.data.video.facts import Trait
from vjepa.data.video.reader import ReaderChain, ReaderName
from vjepa.data.video.storage import is_remote

USUAL_CODECS = frozenset(["h264", "hevc", "vp9", "av1", "mpeg4", "vp8", "mjpeg", ""])  # "" is an image's
LONG_KEYFRAME_INTERVAL = 300  # frames
SHOWN = 10  # files under each heading of the report


@dataclass
class Finding:
    """A heading of the report."""

    title: str
    advice: str
    leaves_out: bool = False  # such files are not in the clean manifest
    files: list[tuple[int, str]] = field(default_factory=list)  # (row, details)


def examine(
    manifest: str,
    output: Path = Path("doctor"),
    root: str | None = None,
    split: str | None = None,
    against: str | None = None,
    against_root: str | None = None,
    against_split: str | None = None,
    min_frames: int = 2,
    min_seconds: float = 0.0,
    decode: Literal["ends", "all"] = "ends",
    duplicate_distance: int = 10,
    drop_duplicates: bool = False,
    readers: list[ReaderName] = ["decord", "pyav"],  # noqa: B006 (read only)
    num_workers: int | None = None,
    time_limit: float = 60.0,
) -> None:
    """Check every file of a manifest: readable, as listed, and not there twice.

    Writes `report.md`, `files.csv` (one line per file) and `clean.csv` (a manifest without the files that can't be
    read, are too short, or are also in the `against` list) to a folder.

    Args:
        manifest: CSV, Parquet or list file, or a folder.
        output: folder to write to.
        root: folder that the manifest's paths are relative to.
        split: check only rows of this split.
        against: a second manifest, e.g. of a probe's test set, whose videos must not be among these.
        against_root: folder that its paths are relative to.
        against_split: only rows of this split of it.
        min_frames: a video with fewer is too short.
        min_seconds: so is a shorter one.
        decode: "ends" decodes a few frames at start, middle and end, "all" every frame.
        duplicate_distance: bits of 192 in which the hashes of two near-duplicates may differ, 0 to 11.
        drop_duplicates: leave all but the first of near-duplicates out of the clean manifest.
        readers: in order of preference.
        num_workers: processes; one per processor if not given.
        time_limit: seconds for one file.
    """
    if not 0 <= duplicate_distance <= 11:
        raise ValueError(f"duplicate_distance ({duplicate_distance}) must be between 0 and 11")
    listed = read_manifest(manifest, root, split)
    others = read_manifest(against, against_root, against_split) if against else None
    preferred = ReaderChain(readers).readers[1].name  # of those on this machine; images have their own before it
    reports = scan_files(list(listed.paths), num_workers, time_limit, readers=tuple(readers), decode=decode)
    findings = [
        *_findings(reports, preferred, min_frames, min_seconds),
        *_parts(listed, reports),
        _changed(listed, reports),
        _listed_twice(listed),
        _duplicates(listed, reports, duplicate_distance, drop_duplicates),
    ]
    if others is not None:
        of_others = scan_files(list(others.paths), num_workers, time_limit, readers=tuple(readers), decode="ends")
        findings.append(_leaks(others, reports, of_others, duplicate_distance))
    left_out = {row for finding in findings if finding.leaves_out for row, _ in finding.files}
    output.mkdir(parents=True, exist_ok=True)
    text = _report(manifest, listed, reports, findings, len(left_out))
    with new_file(output / "report.md") as temporary:
        temporary.write_text(text, encoding="utf-8", errors="surrogateescape")
    _write_files(output / "files.csv", listed, reports, findings)
    _write_clean(output / "clean.csv", listed, reports, left_out)
    print(text)
    print(f"Written to {output}: report.md, files.csv, clean.csv ({len(listed) - len(left_out)} files)")


def _findings(reports: list[FileReport], preferred: str, min_frames: int, min_seconds: float) -> list[Finding]:
    """Headings about single files."""
    unreadable = Finding("Can't be read", "mend or remove them", True)
    broken = Finding(
        "Break off or can't be decoded", "mend or remove them; `vjepa transcode` saves what is whole", True
    )
    short = Finding("Too short", "remove them, or sample at a higher rate", True)
    codec = Finding("Odd codecs", "they may decode slowly or not everywhere; `vjepa transcode` makes H.264 of them")
    keyframes = Finding(
        "Far between keyframes", "each clip decodes all frames since the last; `vjepa transcode` cures it"
    )
    routed = Finding(f"Not read by {preferred}", "its frames would be wrong; another reader takes them, often slower")
    deep = Finding("Images of more than 8 bits", "they are scaled to 8 bits by their depth")
    uneven = Finding("Variable frame rate", "clips are cut by the frames' times; `vjepa transcode` makes it even")
    for row, report in enumerate(reports):
        facts = report.facts
        if facts is None:
            unreadable.files.append((row, report.reason))
            continue
        if report.reason:
            broken.files.append((row, report.reason))
        elif Trait.DAMAGED in facts.traits:
            broken.files.append((row, f"good up to frame {facts.num_frames}"))
        if facts.container == "image":
            if facts.pixel_format:
                deep.files.append((row, facts.pixel_format))
            continue
        if facts.num_frames < min_frames or facts.duration < min_seconds:
            short.files.append((row, f"{facts.num_frames} frames, {facts.duration:.2f} s"))
        if facts.codec not in USUAL_CODECS:
            codec.files.append((row, facts.codec))
        if facts.keyframe_interval > LONG_KEYFRAME_INTERVAL:
            keyframes.files.append((row, f"{facts.keyframe_interval} frames"))
        if report.reader and report.reader != preferred:
            traits = ", ".join(sorted(trait.value.replace("_", " ") for trait in facts.traits - {Trait.REORDERED}))
            why = traits or f"{facts.codec} {facts.pixel_format} in {facts.container}"
            routed.files.append((row, f"{report.reader} ({why})"))
        if Trait.VARIABLE_RATE in facts.traits:
            uneven.files.append((row, f"mean {facts.fps:.2f} frames per second"))
    return [unreadable, broken, short, codec, keyframes, routed, uneven, deep]


def _parts(listed: Manifest, reports: list[FileReport]) -> list[Finding]:
    """Headings about rows that are parts of a file."""
    missing = Finding("Their part is not in the file", "correct `start` and `end`, in seconds, or the file", True)
    short = Finding("Shorter than their part", "what there is of the part is used; are the times in seconds?")
    for row, report in enumerate(reports):
        start, end = listed.window(row)
        if report.facts is None:
            continue
        if reason := report.facts.missing_part(start):
            missing.files.append((row, reason))
        elif end is not None and end > report.facts.duration + 1 / report.facts.fps:
            short.files.append((row, f"ends at {report.facts.duration:.3f} s, and the part at {end:g} s"))
    return [missing, short]


def _changed(listed: Manifest, reports: list[FileReport]) -> Finding:
    finding = Finding(
        "Not as the manifest has them", "training scans such files again; the clean manifest has them as they are"
    )
    for row, report in enumerate(reports):
        was, now = (
            each and f"{each.num_frames} frames of {each.width}x{each.height} at {each.fps:g} fps"
            for each in (listed.facts(row), report.facts)
        )
        if was and now and was != now:
            finding.files.append((row, f"listed with {was}, has {now}"))
    return finding


def _listed_twice(listed: Manifest) -> Finding:
    finding = Finding("Listed twice", "one file in several rows; right for parts of a film, otherwise a mistake")
    first: dict[tuple[str, float | None, float | None], int] = {}
    for row, path in enumerate(listed.paths):
        before = first.setdefault((path, *listed.window(row)), row)
        if before != row:
            finding.files.append((row, f"as row {before}"))
    return finding


def _duplicates(listed: Manifest, reports: list[FileReport], max_distance: int, leaves_out: bool) -> Finding:
    finding = Finding("Look like another file", "keep one of each pair if they are copies", leaves_out)
    for first, second, distance in near_duplicates([report.hashes for report in reports], max_distance):
        if listed.paths[first] != listed.paths[second]:
            finding.files.append((second, f"{listed.paths[first]}, {distance} bits of 192 apart"))
    return finding


def _leaks(others: Manifest, reports: list[FileReport], of_others: list[FileReport], max_distance: int) -> Finding:
    finding = Finding(
        "Also in the list that must be disjoint", "a probe on it would be scored on training videos", True
    )
    hashes = [report.hashes for report in [*reports, *of_others]]
    for first, second, distance in near_duplicates(hashes, max_distance):
        if first < len(reports) <= second:
            finding.files.append((first, f"{others.paths[second - len(reports)]}, {distance} bits of 192 apart"))
    return finding


def _report(name: str, listed: Manifest, reports: list[FileReport], findings: list[Finding], num_left_out: int) -> str:
    known = [report.facts for report in reports if report.facts is not None]
    hours = sum(facts.duration for facts in known if facts.container != "image") / 3600
    columns = {
        "codec": [f"{facts.codec or 'image'} in {facts.container}" for facts in known],
        "size": [f"{facts.width}x{facts.height}" for facts in known],
        "frames per second": [f"{facts.fps:.4g}" for facts in known],
        "frames": [f"{facts.num_frames}" for facts in known],
        "frames between keyframes": [f"{facts.keyframe_interval}" for facts in known],
        "reader": [report.reader or "none" for report in reports if report.facts],
    }
    lines = [
        f"# {name}",
        "",
        f"{len(listed)} files, {len(known)} readable, {hours:.2f} hours; {num_left_out} left out of the clean list.",
        "",
        "| | most common |",
        "|---|---|",
        *(f"| {title} | {_most_common(values)} |" for title, values in columns.items()),
        "",
        _throughput(reports),
    ]
    for finding in findings:
        if finding.files:
            kept = "left out" if finding.leaves_out else "kept"
            num_files = len({row for row, _ in finding.files})
            advice = f"{finding.advice[0].upper()}{finding.advice[1:]}."
            lines += ["", f"## {finding.title}: {num_files} files ({kept})", "", advice, ""]
            lines += [f"* {listed.paths[row]}: {details}" for row, details in finding.files[:SHOWN]]
            if len(finding.files) > SHOWN:
                lines.append(f"* and {len(finding.files) - SHOWN} more, in files.csv")
    return "\n".join(lines) + "\n"


def _most_common(values: list[str]) -> str:
    most = Counter(values).most_common(5)
    rest = len(set(values)) - len(most)
    return ", ".join(f"{value} ({count})" for value, count in most) + (f" and {rest} others" if rest else "")


def _throughput(reports: list[FileReport]) -> str:
    decoded = sum(report.decoded_frames for report in reports)
    seconds = sum(report.seconds for report in reports)
    if not decoded or not seconds:
        return "Nothing was decoded."
    return (
        f"Decoding {decoded} frames took {seconds:.1f} s of processor time, with opening and seeking: "
        f"{seconds / decoded * 1000:.1f} ms per frame, {decoded / seconds:.0f} frames per second and core."
    )


def _write_files(path: Path, listed: Manifest, reports: list[FileReport], findings: list[Finding]) -> None:
    notes: dict[int, list[str]] = {}
    for finding in findings:
        for row, details in finding.files:
            notes.setdefault(row, []).append(f"{finding.title}: {details}")
    rows: Iterable[dict[str, str]] = (
        {"path": listed.paths[row], "findings": "; ".join(notes.get(row, []))}
        | (found_columns(report) if report.facts else {})
        for row, report in enumerate(reports)
    )
    write_table(path, ["path", "findings", *FOUND_COLUMNS], rows)


def _write_clean(path: Path, listed: Manifest, reports: list[FileReport], left_out: set[int]) -> None:
    """With absolute paths, so that the manifest can be moved."""

    def absolute(file: str) -> str:
        return file if is_remote(file) else str(Path(file).absolute())

    rows = (
        {"path": absolute(listed.paths[row]), **listed_columns(listed, row), **found_columns(report)}
        for row, report in enumerate(reports)
        if row not in left_out
    )
    write_table(path, [*COLUMNS, *FOUND_COLUMNS], rows)
