"""What a reader sees of a page, measured in the browser."""

from collections.abc import Sequence
from functools import cache
from typing import Any, Final

from attrs import frozen

from tests.site.browser import Page
from tests.site.pages import path_of

WIDE: Final = 1280
NARROW: Final = 400

_SEEN: Final = """(() => {
  const scrolls = box => box.offsetParent && box.scrollWidth > box.clientWidth;
  const all = selector => [...document.querySelectorAll(selector)];
  const longest = text => text.split("\\n").reduce((a, b) => a.length < b.length ? b : a);
  const boxOf = each => each.getBoundingClientRect();
  const meet = (a, b) =>
    a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.bottom - 1 && b.top < a.bottom - 1;
  const within = (a, b) =>
    b.left <= a.left && a.right <= b.right && b.top <= a.top && a.bottom <= b.bottom;
  const has = (box, {x, y}) => box.left < x && x < box.right && box.top < y && y < box.bottom;
  const crossed = svg => {
    const words = [...svg.querySelectorAll("text")];
    const boxes = [...svg.querySelectorAll("rect")].map(boxOf);
    const points = [...svg.querySelectorAll("path[marker-end]")].flatMap(path => {
      const steps = Math.ceil(path.getTotalLength() / 2);
      return Array.from({length: steps}, (_, step) =>
        path.getPointAtLength(2 * step).matrixTransform(path.getScreenCTM()));
    });
    return words.filter(text => {
      const box = boxOf(text);
      return !within(box, boxOf(svg))
        || boxes.some(each => meet(box, each) && !within(box, each))
        || points.some(each => has(box, each))
        || words.some(each => each !== text && meet(box, boxOf(each)));
    }).map(text => text.textContent);
  };
  return {
    first: all(".sidebar-tree a")[0].href,
    beyond: document.scrollingElement.scrollWidth - document.scrollingElement.clientWidth,
    code: all("pre").filter(scrolls).map(each => longest(each.innerText)),
    tables: all(".table-wrapper").filter(scrolls).map(each => each.innerText.split("\\n")[0]),
    broken: all("img").filter(each => !each.complete || !each.naturalWidth).map(each => each.src),
    blocks: all("div.highlight > pre").length,
    buttons: all("div.highlight > pre ~ button.copybtn, div.highlight > button.copybtn").length,
    crossed: all("article svg.wide, article svg.narrow").filter(svg => svg.checkVisibility())
      .flatMap(crossed),
  };
})()"""


@frozen
class Look:
    """A page in a window of some width: what does not fit there, and what is missing."""

    first: str
    """Where the first link of the navigation leads."""
    beyond: int
    """By how many pixels the page is wider than the window."""
    code: Sequence[str]
    """The longest line of each block of code that scrolls sideways."""
    tables: Sequence[str]
    """The first line of each table that scrolls sideways."""
    broken: Sequence[str]
    """The images that are not loaded."""
    blocks: int
    buttons: int
    crossed: Sequence[str]
    """The words in pictures that are cut by an edge or a line, or written over others."""


@frozen
class Seen:
    """A page that was loaded once, and looked at in two widths."""

    complaints: Sequence[str]
    wide: Look
    narrow: Look


@cache
def seen(browser: Page, page: str) -> Seen:
    """Look at a page."""
    browser.resize(WIDE)
    complaints = browser.open(path_of(page).as_uri())
    wide = _look(browser)
    browser.resize(NARROW)
    return Seen(complaints, wide, _look(browser))


def _look(browser: Page) -> Look:
    found: dict[str, Any] = browser.evaluate(_SEEN)
    return Look(**found)
