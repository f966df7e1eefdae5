"""The links of pages, and which of them lead nowhere."""

from collections.abc import Iterator, Mapping
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from markdown_it import MarkdownIt
from mdit_py_plugins.anchors import anchors_plugin

_REFERRING: Final[Mapping[str, tuple[str, ...]]] = {
    "a": ("href",),
    "form": ("action",),
    "iframe": ("src",),
    "image": ("href", "xlink:href"),
    "img": ("src",),
    "link": ("href",),
    "object": ("data",),
    "script": ("src",),
    "source": ("src",),
    "use": ("href", "xlink:href"),
}
"""The attributes that are links, by the element that has them."""

_TOP: Final = ("", "top")
"""The anchors that every page has."""


class _Reader(HTMLParser):
    """Collects the links of a page, and the anchors that it offers."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" or (tag, name) == ("a", "name"):
                self.anchors.add(value or "")
            elif name in _REFERRING.get(tag, ()):
                self.links.append(value or "")


@cache
def _read(path: Path) -> _Reader:
    text = path.read_text()
    if path.suffix == ".md":
        parser = MarkdownIt("commonmark").enable("table").use(anchors_plugin, max_level=6)
        text = parser.render(text)
    reader = _Reader()
    reader.feed(text)
    return reader


def links_of(path: Path) -> list[str]:
    """The links of a page in HTML or Markdown, in their order."""
    return list(_read(path).links)


def faults_of(path: Path, *, top: Path) -> Iterator[str]:
    """Each link of a page that leads nowhere, or out of the folder that is published.

    What is outside, on the web, is not asked for.
    """
    for link in _read(path).links:
        if (reason := _fault(path, link, top)) is not None:
            yield f"{link!r}: {reason}"


def _fault(path: Path, link: str, top: Path) -> str | None:
    try:
        url = urlsplit(link)
    except ValueError as error:
        return str(error)
    match url.scheme:
        case "http" | "https":
            return None if url.hostname and " " not in link else "it names no host"
        case "mailto":
            return None if "@" in url.path else "it names no mailbox"
        case "data":
            return None
        case "":
            pass
        case scheme:
            return f"nobody can follow {scheme}: links"
    if url.netloc or url.path.startswith("/"):
        return "it depends on where the pages are"
    if not link:
        return "it is empty"
    target = (path.parent / unquote(url.path)).resolve() if url.path else path
    if not target.is_relative_to(top):
        return "it leads out of the folder"
    if not target.exists():
        return "there is no such file"
    anchor = unquote(url.fragment)
    if anchor in _TOP or target.suffix not in (".html", ".md"):
        return None
    return None if anchor in _read(target).anchors else f"{target.name} has no such anchor"
