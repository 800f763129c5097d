"""Media files from other projects' tests: each gives ffmpeg's frames or is quarantined with a reason."""

from pathlib import Path

import pytest

from benchmarks.check_files import check_folder
from tests.ffmpeg import run_ffmpeg
from tests.integration.test_real_video import REAL_VIDEO

ODD_FILES = REAL_VIDEO / "odd_files"


@pytest.mark.slow
@pytest.mark.skipif(
    not ODD_FILES.is_dir(), reason=f"no odd files at {ODD_FILES}; set VJEPA_SHARED_DATA to a folder with odd_files/"
)
def test_no_odd_file_crashes_hangs_or_gives_a_wrong_frame(tmp_path):
    checked = check_folder(ODD_FILES, tmp_path)
    assert len(checked) >= 163
    assert not [file for file in checked if not file.is_right]
    assert all(file.reason for file in checked if file.facts is None)
    assert sum(not file.reason for file in checked) >= 131


def broken(folder: Path, number: int) -> None:
    folder.mkdir(exist_ok=True)
    for k in range(number):
        (folder / f"text{k:02d}.mp4").write_text("no video")


def test_files_that_are_whole_in_parts_are_reported_and_do_not_stop_the_check(tmp_path):
    folder = tmp_path / "files"
    broken(folder, 2)
    source = ("-f", "lavfi", "-i", "testsrc2=size=96x64:rate=25:duration=3,noise=all_seed=1:alls=12:allf=t")
    run_ffmpeg(
        *source, "-pix_fmt", "yuv420p", "-c:v", "libx264", "-g", "12", "-movflags", "faststart", folder / "a.mp4"
    )
    content = (folder / "a.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(content[: len(content) // 2])
    (folder / "damaged.mp4").write_bytes(
        content[: len(content) // 2] + bytes(2000) + content[len(content) // 2 + 2000 :]
    )
    checked = {Path(file.path).name: file for file in check_folder(folder, tmp_path)}
    assert len(checked) == 5 and all(file.is_right for file in checked.values())
    assert not checked["a.mp4"].reason and checked["text00.mp4"].facts is None
    assert checked["cut.mp4"].facts is not None and checked["cut.mp4"].reason and checked["cut.mp4"].difference == 0


def test_a_folder_of_broken_files_alone_is_checked_too(tmp_path):
    broken(tmp_path / "files", 3)
    checked = check_folder(tmp_path / "files", tmp_path)
    assert [file.facts for file in checked] == [None] * 3 and all(file.is_right and file.reason for file in checked)
