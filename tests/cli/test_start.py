"""What a command does before it works: settings of threads, and no more imports than it needs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vjepa import processors
from vjepa.processors import count_processors, prepare_threads


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own whose environment says nothing of threads but what is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OMP_")}
    return subprocess.run(
        [sys.executable, "-c", code], env={**kept, **environment}, capture_output=True, text=True, timeout=120
    )


def test_importing_the_package_does_not_import_torch():
    done = python("import sys, vjepa, vjepa.interop; print('torch' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr


@pytest.mark.parametrize("command", ["doctor", "manifest", "transcode", "make-data"])
def test_commands_on_files_do_not_import_torch_for_their_help(command):
    code = (
        "import atexit, sys; from vjepa.cli.main import main\n"
        "atexit.register(lambda: print('heavy:', {'torch', 'lightning'} & set(sys.modules)))\n"
        f"main(['{command}', '--help'])"
    )
    done = python(code)
    assert done.returncode == 0 and "heavy: set()" in done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="other systems' OpenMP prints other words")
@pytest.mark.parametrize(("given", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_openmp_of_a_command_waits_passively_unless_the_user_says_otherwise(given, policy):
    code = "from vjepa.cli.main import main\ntry: main(['doctor', '--help'])\nfinally: import torch"
    done = python(code, OMP_DISPLAY_ENV="TRUE", **given)
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "300000 100000\n"}, 3),
        ({"cpu.max": "max 100000\n"}, 8),
        ({"cpu.max": "50000 100000\n"}, 1),
        ({"cpu.max": "6400000 100000\n"}, 8),
        ({"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 8),
        ({}, 8),
    ],
)
def test_processors_are_those_of_the_affinity_within_the_quota_of_the_container(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    monkeypatch.setattr(processors, "CGROUP", tmp_path)
    monkeypatch.setattr(processors, "_by_affinity", lambda: 8)
    assert count_processors() == expected
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    prepare_threads()
    assert os.environ.pop("OMP_NUM_THREADS", "8") == str(expected)  # unset where torch finds the right number itself
