"""The documentation links to files that exist and names classes as they are defined."""

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "data").rglob("README.md")])
PAGES.append(ROOT / "notebooks" / "README.md")
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


README = (ROOT / "README.md").read_text(encoding="utf-8")
RESULTS = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
NUMBER = re.compile(r"(?<![\w.])\d+\.\d+(?:e-\d+)?(?: ± \d+\.\d+)?")


def section_of(link: str) -> str:
    """Text of the section of docs/results.md that a link names, as GitHub writes anchors."""
    for section in re.split(r"^## ", RESULTS, flags=re.MULTILINE)[1:]:
        title = section.partition("\n")[0]
        if re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") == link:
            return section
    raise AssertionError(f"docs/results.md has no section #{link}")


def rows_of_measurements() -> list[list[str]]:
    table = README.partition("## Measured")[2].partition("\n## ")[0]
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("| [")
    ]


@pytest.mark.parametrize("row", rows_of_measurements(), ids=lambda row: row[0].partition("]")[0][1:])
def test_figures_of_readme_are_those_of_the_results(row: list[str]):
    task, result, beside, _ = row
    [link] = re.findall(r"docs/results\.md#([\w-]+)", task)
    figures = NUMBER.findall(f"{result} {beside}")
    assert figures, f"no figure in '{result}'"
    assert [figure for figure in figures if figure not in section_of(link)] == []


def test_the_headline_of_readme_is_in_the_table_of_results():
    with (ROOT / "docs" / "results" / "two_rooms.csv").open() as file:
        rows = {(row["layouts"], row["policy"]): row for row in csv.DictReader(file)}
    reached = [
        rows["random, as in training", policy]["touched_4.5px"] for policy in ("world model", "behaviour cloning")
    ]
    assert re.findall(r"\*\*([\d.]+) %\*\*", README) == reached == ["98.8", "53.5"]


def test_every_page_is_in_the_navigation_of_the_site():
    nav = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]
    pages = re.findall(r"[\w/.-]+\.md", str(nav))
    expected = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}
    assert expected <= set(pages) and len(pages) == len(set(pages))
    outside = set(pages) - expected - {"index.md"}
    assert all((ROOT / page).exists() for page in outside)


def test_pages_that_are_linked_to_are_in_the_navigation_or_named_as_left_out():
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    pages = {ROOT / "README.md"}
    for page in set(re.findall(r"[\w/.-]+\.md", str(site["nav"]))) - {"index.md"}:
        pages.add(ROOT / "docs" / page if (ROOT / "docs" / page).exists() else ROOT / page)
    left_out = {page for pattern in site["not_in_nav"].split() for page in ROOT.glob(pattern)}
    assert left_out, "the pattern names pages"
    for page in pages:
        linked = re.findall(r"\]\(([^)#\s:]+\.md)[)#]", page.read_text(encoding="utf-8"))
        found = {(page.parent / each).resolve() for each in linked}
        assert found <= pages | left_out, f"{page}: name {found - pages - left_out} in mkdocs.yml"


@pytest.mark.slow
def test_the_site_builds_with_all_links_and_nothing_from_the_network(tmp_path: Path):
    pytest.importorskip("mkdocstrings", reason="the site needs the extra docs: make docs")
    command = [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(tmp_path / "site")]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    for page in (tmp_path / "site").rglob("*.html"):
        fetched = re.findall(
            r"<(?:script|img|link rel=.(?:stylesheet|preload)\S*)[^>]*=.?https?://[^>]*>", page.read_text()
        )
        assert not fetched, f"{page.name} fetches {fetched[0]}"


def test_pre_commit_runs_the_commands_of_make_check():
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    target = re.search(r"^check:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert target is not None
    commands = [line.strip().replace("$(VENV)", ".venv") for line in target[1].splitlines()]
    assert [hook["entry"] for hook in hooks] == commands
