"""What is installed: a wheel with recipes and weights, constraints that agree with pyproject.toml, a container file."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if "==" in line and not line.startswith("#"))


@pytest.mark.slow
def test_a_wheel_carries_recipes_and_weights(tmp_path: Path):
    pytest.importorskip("setuptools", "77", reason="setuptools 77 builds wheels of this pyproject.toml")
    build = ["egg_info", f"--egg-base={tmp_path}", "build", f"--build-base={tmp_path}", "bdist_wheel"]
    subprocess.run([sys.executable, "setup.py", "-q", *build, f"--dist-dir={tmp_path}"], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    recipes = {f"vjepa/{file.relative_to(ROOT)}" for file in ROOT.glob("configs/*/*.yaml")}
    weights = {str(file.relative_to(ROOT)) for file in ROOT.glob("vjepa/weights/*/*")}
    assert recipes and weights and recipes | weights <= names
    assert "vjepa/configs/pretrain/health/synthetic_agreement.json" in names
    assert not any(name.startswith("tests/") for name in names)


def test_packaged_weights_are_small_and_safe():
    files = [file for file in ROOT.glob("vjepa/weights/*/*")]
    assert sum(file.stat().st_size for file in files) < 5_000_000
    assert {file.suffix for file in files} <= {".safetensors", ".yaml", ".md"}


def test_the_lowest_versions_are_those_that_pyproject_claims():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    claimed = {re.split(r"[\[>=<;]", each)[0]: re.search(r">=([\d.]+)", each)[1] for each in project["dependencies"]}
    lowest = pins("constraints/lowest.txt")
    assert lowest.keys() - {"torchvision"} == claimed.keys()
    for name, version in claimed.items():
        assert lowest[name] == version or lowest[name].startswith(f"{version}."), name


def test_cuda_12_differs_from_the_tested_versions_by_torch_alone():
    tested, cuda12 = pins("constraints.txt"), pins("constraints/cuda12.txt")
    assert {name for name in tested if tested[name] != cuda12.get(name)} == {"torch", "torchvision", "torchcodec"}
    for name in ("cuda13", "cpu"):
        assert "-c ../constraints.txt" in (ROOT / f"constraints/{name}.txt").read_text(encoding="utf-8")


def test_the_container_file_copies_what_is_there():
    text = (ROOT / "Containerfile").read_text(encoding="utf-8")
    copied = [name for line in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE) for name in line.split()]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert copied and all((ROOT / name).exists() and f"!{name}" in ignored for name in copied)
    devices = re.search(r"^# (\w+), (\w+) or (\w+):", text, re.MULTILINE).groups()
    assert all((ROOT / "constraints" / f"{device}.txt").exists() for device in devices)
    assert f"ARG DEVICE={devices[0]}\n" in text
