"""Media files from other projects' tests: each gives ffmpeg's frames or is quarantined with a reason."""

import pytest

from benchmarks.check_files import check_folder
from tests.integration.test_real_video import REAL_VIDEO

ODD_FILES = REAL_VIDEO / "odd_files"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not ODD_FILES.is_dir(), reason=f"no odd files at {ODD_FILES}; set VJEPA_SHARED_DATA to a folder with odd_files/"
    ),
]


def test_no_odd_file_crashes_hangs_or_gives_a_wrong_frame(tmp_path):
    checked = check_folder(ODD_FILES, tmp_path)
    assert len(checked) >= 163
    assert not [file for file in checked if not file.is_right]
    assert all(file.reason for file in checked if file.facts is None)
    assert sum(not file.reason for file in checked) >= 131
