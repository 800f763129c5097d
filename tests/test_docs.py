"""The documentation links to files that exist and names classes as they are defined."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "data").rglob("README.md")])
OF_THE_PAST = ("CHANGELOG.md", "decisions.md", "log.md")
FILE = re.compile(
    r"\b((?:vjepa|configs|docs|tests|benchmarks|scripts)/[\w/.-]*\w\.(?:py|yaml|md|csv|json|png|sbatch))\b"
)
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


@each_page
def test_links_lead_somewhere(page: Path):
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not missing, f"{page.relative_to(ROOT)} links to {', '.join(missing)}"


@each_page
def test_named_files_exist(page: Path):
    if page.name in OF_THE_PAST:
        pytest.skip("about the past")
    text = re.sub(r"```diff\n.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)  # what might be added
    missing = {name for name in FILE.findall(text) if not (ROOT / name).exists()}
    assert not missing, f"{page.relative_to(ROOT)} names {', '.join(sorted(missing))}"


@each_page
def test_classes_are_named_as_they_are_defined(page: Path):
    if page.name in OF_THE_PAST:
        pytest.skip("about the past")
    elsewhere = {"LightningModule", "LightningDataModule", "VJEPA2AttentivePooler", "AttentiveClassifier"}
    elsewhere |= {"VisionTransformerPredictorAC", "RandAugment"}
    source = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "vjepa").rglob("*.py"))
    named = set(re.findall(r"`([A-Z]\w*[a-z][A-Z]\w*)`", page.read_text(encoding="utf-8")))
    unknown = named - set(re.findall(r"^class (\w+)", source, re.MULTILINE)) - elsewhere
    assert not unknown, f"{page.relative_to(ROOT)} names {', '.join(sorted(unknown))}"


def test_the_map_names_files_of_the_package():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    files = re.findall(r"`((?:\w+/)+\w+\.py)`", page)
    assert len(files) > 10
    assert [name for name in files if not (ROOT / "vjepa" / name).exists() and not (ROOT / name).exists()] == []


def test_every_table_of_results_is_linked():
    pages = "".join((ROOT / "docs" / name).read_text(encoding="utf-8") for name in ("results.md", "loss-curves.md"))
    tables = [path.name for path in (ROOT / "docs" / "results").glob("*.csv")]
    assert [name for name in tables if f"(results/{name})" not in pages] == []
