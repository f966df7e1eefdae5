"""What a release says of itself: its version, its place, and how to get it."""

import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from email.message import Message
from importlib.metadata import metadata
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

import amdcni
from amdcni.cli import main
from scripts.metadata_hook import linked, urls_of

ROOT = Path(amdcni.__file__).parents[1]
README = (ROOT / "README.md").read_text()
REPOSITORY = "https://git.example/owner/amdcni"


def test_the_metadata_has_the_version_of_the_package() -> None:
    assert metadata("amdcni")["Version"] == amdcni.__version__


def test_the_version_is_written_in_one_place() -> None:
    assert not re.search("^version = ", (ROOT / "pyproject.toml").read_text(), re.M)
    said = re.compile(r"""^(\w+ = )*(release|version|__version__) = f?["'].*\d""", re.M)
    written = [
        path
        for package in ("amdcni", "amdcni_shim", "amdcni_agent", "docs", "scripts")
        for path in (ROOT / package).rglob("*.py")
        if said.search(path.read_text())
    ]
    assert written == [ROOT / "amdcni/__init__.py"]


OF_AMDCNI = re.compile(
    # An image, an archive, a folder, a placeholder; a tree has twelve digits instead of its name.
    r"amdcni(?::(?=\w)|-(?=\d+\.\d|VERSION))(VERSION|\d+(?:\.\d+)*|[\w-]+)"
    r"|\b(\d+\.\d+\.\d+)-[0-9a-f]{12}\b"
)


def versions_in(text: str) -> list[str]:
    """The versions of amdcni that a page names."""
    return [image or tree for image, tree in OF_AMDCNI.findall(text)]


def test_versions_of_amdcni_are_found_in_whatever_has_one() -> None:
    text = "amdcni:1.0 amdcni-0.2.0.oci.tar x/amdcni:VERSION /opt/amdcni-0.2/bin 0.1.0-09283094eef6"
    assert versions_in(text) == ["1.0", "0.2.0", "VERSION", "0.2", "0.1.0"]


def test_the_pages_name_this_version_wherever_they_name_one() -> None:
    parts = amdcni.__version__.split(".")
    next_one = ".".join([*parts[:-1], str(int(parts[-1]) + 1)])
    others = {
        # It upgrades to the next one.
        "docs/how-to/try-with-containerd.md": {next_one},
        # Folders of environments.
        "docs/how-to/install.md": {".".join(parts[:2])},
    }
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    assert amdcni.__version__ in versions_in(README)
    wrong = [
        f"{path.relative_to(ROOT)}:{number}: {line}"
        for path in pages
        for number, line in enumerate(path.read_text().splitlines(), 1)
        for found in versions_in(line)
        if found not in {amdcni.__version__} | others.get(str(path.relative_to(ROOT)), set())
    ]
    assert wrong == []


def test_the_pages_name_the_image_as_a_node_that_imported_it_does() -> None:
    image = re.compile(r"\S*\bamdcni:[\w.]+")
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    named = {(path.name, each) for path in pages for each in image.findall(path.read_text())}
    wanted = re.compile(r"(\W|containers-storage:)*localhost/amdcni:.*|docker://REGISTRY/amdcni:.*")
    assert [each for each in named if not wanted.fullmatch(each[1])] == []


@pytest.mark.parametrize("isolated", [[], ["-I"]])
def test_the_package_can_be_run_as_the_command(isolated: list[str]) -> None:
    asked = [sys.executable, *isolated, "-m", "amdcni", "--version"]
    done = subprocess.run(asked, cwd="/", capture_output=True, text=True, check=True)
    assert done.stdout == f"amdcni {amdcni.__version__}\n"


def test_the_package_passes_on_the_exit_status_of_the_command() -> None:
    asked = [sys.executable, "-I", "-m", "amdcni", "no-such-command"]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: amdcni ")


def test_the_command_says_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--version"], sys.stdout, sys.stderr)
    assert capsys.readouterr().out == f"amdcni {amdcni.__version__}\n"


def links_of(text: str) -> list[str]:
    blocks = MarkdownIt().enable("table").parse(text)
    inline = [token for block in blocks for token in block.children or []]
    return [str(token.attrs["href"]) for token in inline if token.type == "link_open"]


def words_of(text: str) -> str:
    blocks = MarkdownIt().enable("table").parse(text)
    return "".join(
        token.content if not block.children else "".join(child.content for child in block.children)
        for block in blocks
        for token in [block]
    )


def test_without_a_repository_nothing_has_an_address() -> None:
    assert urls_of(None, "1.0") == {}
    text = linked(README, None, "1.0")
    assert links_of(text) == [link for link in links_of(README) if link.startswith("https://")]
    assert words_of(text) == words_of(README)


def test_with_a_repository_every_link_leads_to_a_file_of_the_release() -> None:
    text = linked(README, REPOSITORY, "1.0")
    place = f"{REPOSITORY}/blob/v1.0/"
    assert links_of(text) == [
        link if link.startswith("https://") else place + link for link in links_of(README)
    ]
    pages = [*links_of(text), *urls_of(REPOSITORY, "1.0").values()]
    paths = [page.removeprefix(place) for page in pages if page.startswith(place)]
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    assert words_of(text) == words_of(README)


def test_a_link_to_a_place_on_a_page_keeps_the_place() -> None:
    text = "[a](docs/b.md#c), [d](https://e.example/f#g), [h](#i)"
    assert linked(text, REPOSITORY, "1") == (
        f"[a]({REPOSITORY}/blob/v1/docs/b.md#c), [d](https://e.example/f#g), [h](#i)"
    )
    assert linked(text, None, "1") == "a, [d](https://e.example/f#g), [h](#i)"


@pytest.mark.parametrize("repository", [None, REPOSITORY])
def test_a_page_of_the_documentation_links_to_its_source_if_that_has_a_place(
    repository: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    about = Message()
    for label, url in urls_of(repository, amdcni.__version__).items():
        about["Project-URL"] = f"{label}, {url}"
    monkeypatch.setattr("importlib.metadata.metadata", lambda _: about)
    options = runpy.run_path(str(ROOT / "docs/conf.py")).get("html_theme_options", {})
    if repository is None:
        assert options == {}
    else:
        link = options["source_view_link"].format(filename="how-to/install.md")
        assert link == f"{repository}/blob/v{amdcni.__version__}/docs/how-to/install.md"


INSTALLED = re.compile(
    r"\b(?:pip3?|pipx|uvx?|poetry|conda)\b.*?\s(?:install|add|download|wheel|inject|run)\s(.*)"
)
NAME = re.compile(r"amdcni(\[[^]]*\])?([=<>~!@].*)?")


def from_an_index(text: str) -> Iterator[str]:
    """The commands in a text that would fetch amdcni from an index."""
    for line in text.replace("\\\n", " ").splitlines():
        for arguments in INSTALLED.findall(line):
            words = [word.strip("'\"`.,;:)\\n") for word in arguments.split()]
            if any(map(NAME.fullmatch, words)) and "--no-index" not in words:
                yield line.strip()


@pytest.mark.parametrize(
    "line",
    [
        "pip install amdcni",
        "run `pip install 'amdcni[testing]'`, and",
        "/opt/amdcni/bin/pip install -U amdcni==0.2.0",
        "python3 -m pip install --quiet \\\n  amdcni",
        "uv pip install amdcni",
        "pipx install amdcni.",
    ],
)
def test_a_command_that_needs_an_index_is_recognised(line: str) -> None:
    assert list(from_an_index(line))


@pytest.mark.parametrize(
    "line",
    [
        "/opt/amdcni/bin/pip install .",
        "venv/bin/pip install '../amdcni[testing]'",
        "pip install ./amdcni-0.2.0-py3-none-any.whl",
        "pip install --no-index --find-links wheels amdcni",
    ],
)
def test_a_command_that_needs_no_index_is_not_taken_for_one(line: str) -> None:
    assert list(from_an_index(line)) == []


def test_nothing_is_written_as_if_amdcni_were_on_an_index() -> None:
    folders = ("amdcni", "amdcni_shim", "amdcni_agent", "docs", "examples", "deploy", "scripts")
    files = [*ROOT.glob("*.md"), *ROOT.glob("changelog.d/*.md"), *ROOT.glob("launchers/*")]
    files += [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in {".md", ".py", ".sh", ".yaml", ".yml", ".json", ".toml"}
        and "_build" not in path.parts
    ]
    assert [(str(path), each) for path in files for each in from_an_index(path.read_text())] == []
