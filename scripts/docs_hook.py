"""A hook of MkDocs: pages outside docs/ (README, recipes, changes), and the files that pages link to.

A link is written for readers of the repository, relative to its page. On the site `docs/` is the root and all else
keeps its path, so links that leave or enter `docs/` are rewritten; what they name is added to the site. A link to a
file that does not exist stays as it is, and the strict build refuses it.
"""

import re
from pathlib import Path, PurePosixPath
from posixpath import normpath, relpath
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
HOME = "README.md"  # is index.md on the site
LINK = re.compile(r"(?<=\]\()([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """Add the pages of the nav that are not in docs/, then every file that any page links to."""
    outside = [page for page in ["index.md", *_pages_of(config.nav)] if not files.get_file_from_path(page)]
    for page in dict.fromkeys(outside):
        files.append(File.generated(config, page, abs_src_path=str(ROOT / (HOME if page == "index.md" else page))))
    for page in list(files.documentation_pages()):
        for target in LINK.findall(Path(page.abs_src_path or "").read_text(encoding="utf-8")):
            linked = _repository_path(page.src_uri, target)
            if linked and (ROOT / linked).is_file() and not files.get_file_from_path(_site_path(linked)):
                files.append(File.generated(config, _site_path(linked), abs_src_path=str(ROOT / linked)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Rewrite the relative links of a page to where their files are on the site."""
    if page.file.src_uri == "index.md":
        page.meta["hide"] = ["navigation"]  # it would list this page alone
    folder = str(PurePosixPath(page.file.src_uri).parent)

    def rewritten(link: re.Match[str]) -> str:
        linked = _repository_path(page.file.src_uri, link[1])
        return relpath(_site_path(linked), folder) if linked and (ROOT / linked).is_file() else link[1]

    return LINK.sub(rewritten, markdown)


def _pages_of(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for part in (nav.values() if isinstance(nav, dict) else nav) for page in _pages_of(part)]


def _repository_path(page: str, target: str) -> str | None:
    """Path from the repository's root of what a page (its path on the site) links to; None for web addresses."""
    if "://" in target or target.startswith("mailto:"):
        return None
    source = HOME if page == "index.md" else f"docs/{page}" if (ROOT / "docs" / page).exists() else page
    return normpath(str(PurePosixPath(source).parent / target))


def _site_path(linked: str) -> str:
    return "index.md" if linked == HOME else linked.removeprefix("docs/")
