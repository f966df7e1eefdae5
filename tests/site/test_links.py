"""Every link of the documentation leads somewhere; nothing asks the web."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.site.links import faults_of, links_of
from tests.site.pages import HTML, PAGES, ROOT, WRITTEN, path_of

_TRACKED = subprocess.run(
    ["git", "ls-files", "-z", "*.md"], cwd=ROOT, capture_output=True, text=True, check=False
)
FILES = sorted(
    path
    for path in _TRACKED.stdout.split("\0")
    # The pages are judged as they are built.
    if path and not path.startswith("docs/")
) or ["README.md", "CONTRIBUTING.md"]


@pytest.mark.parametrize("page", PAGES)
def test_every_link_of_a_page_leads_somewhere(page: str) -> None:
    assert links_of(path_of(page)) != []
    assert list(faults_of(path_of(page), top=HTML)) == []


@pytest.mark.parametrize("file", FILES)
def test_every_link_of_a_file_leads_somewhere(file: str) -> None:
    assert list(faults_of(ROOT / file, top=ROOT)) == []


def test_every_page_is_in_the_navigation() -> None:
    linked = {(HTML / link.split("#")[0]).resolve() for link in links_of(path_of("index"))}
    assert {page for page in WRITTEN if path_of(page).resolve() not in linked} - {"index"} == set()


def test_every_man_page_that_is_named_exists() -> None:
    there = {f"{path.stem}({path.suffix[1:]})" for path in (ROOT / "man").rglob("amd*.[1-8]")}
    files = [*(ROOT / "docs").rglob("*.md"), *(ROOT / "man").rglob("amd*.[1-8]")]
    text = "".join(path.read_text().replace("\\-", "-") for path in [ROOT / "README.md", *files])
    named = set(re.findall(r"\bamd[a-z-]+\([1-8]\)", re.sub(r"\\f[BIRP]|\*\*", "", text)))
    assert named
    assert named - there == set()


@pytest.mark.parametrize(
    ("link", "reason"),
    [
        ("missing.html", "there is no such file"),
        ("other.html#missing", "other.html has no such anchor"),
        ("#missing", "page.html has no such anchor"),
        ("../outside.html", "it leads out of the folder"),
        ("/other.html", "it depends on where the pages are"),
        ("//other.html", "it depends on where the pages are"),
        ("", "it is empty"),
        ("https:///path", "it names no host"),
        ("mailto:nobody", "it names no mailbox"),
        ("file:///etc/passwd", "nobody can follow file: links"),
        ("http://[::1", "Invalid IPv6 URL"),
    ],
)
def test_a_link_that_leads_nowhere_is_found(link: str, reason: str, tmp_path: Path) -> None:
    top = tmp_path / "top"
    top.mkdir()
    (tmp_path / "outside.html").touch()
    (top / "other.html").write_text('<p id="there">')
    good = ("other.html#there", "#here", "other.html?q=1#there", "https://amd.com/", "#")
    text = '<p id="here">' + "".join(f'<a href="{each}">x</a>' for each in good)
    page = top / "page.html"
    page.write_text(f'{text}<img src="{link}">')
    assert list(faults_of(page, top=top)) == [f"{link!r}: {reason}"]
