"""The pages as a reader sees them, in a real browser: everything is there and fits."""

import re
from pathlib import Path

import pytest

from amdcni import __version__
from tests.site.browser import Page
from tests.site.looking import WIDE, seen
from tests.site.pages import PAGES, path_of

ON_EACH_PAGE = pytest.mark.parametrize("page", PAGES)

_CONTRAST = """(selector => {
  const light = colour => {
    const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(each => each / 255);
    const linear = parts.map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
  };
  const shown = document.querySelector(selector);
  const style = getComputedStyle(shown);
  const words = light(shown.closest("svg") ? style.fill : style.color);
  const page = light(getComputedStyle(document.body).backgroundColor);
  const [less, more] = [words, page].sort((a, b) => a - b);
  return {page, contrast: (more + 0.05) / (less + 0.05)};
})"""
"""The luminance of the page and the contrast of words on it, as WCAG 2 defines them."""

PROMPT = re.compile(r">>> |\.\.\. |\$ |# (?=[a-z])")

READABLE = 4.5
"""The contrast that WCAG 2.2 wants of words (1.4.3)."""


@ON_EACH_PAGE
def test_a_page_has_all_its_parts_and_no_errors_and_asks_nobody_else(
    browser: Page, page: str
) -> None:
    found = seen(browser, page)
    assert found.complaints == []
    assert found.wide.broken == []


@ON_EACH_PAGE
def test_no_page_scrolls_sideways(browser: Page, page: str) -> None:
    found = seen(browser, page)
    assert (found.wide.beyond, found.narrow.beyond) == (0, 0)


@ON_EACH_PAGE
def test_no_code_and_no_table_scrolls_sideways_on_a_wide_screen(browser: Page, page: str) -> None:
    found = seen(browser, page)
    assert found.wide.code == []
    assert found.wide.tables == []


@ON_EACH_PAGE
def test_no_line_of_a_picture_crosses_its_words(browser: Page, page: str) -> None:
    found = seen(browser, page)
    assert (found.wide.crossed, found.narrow.crossed) == ([], [])


@ON_EACH_PAGE
def test_every_block_of_code_has_a_button_that_copies_it(browser: Page, page: str) -> None:
    found = seen(browser, page)
    assert found.wide.buttons == found.wide.blocks


def test_there_is_code_to_copy(browser: Page) -> None:
    assert seen(browser, "index").wide.blocks > 0


def test_the_button_copies_what_somebody_types_and_not_the_prompt(browser: Page) -> None:
    browser.resize(WIDE)
    browser.open(path_of("how-to/install-on-a-cluster").as_uri())
    copied = browser.evaluate(
        """(() => {
          const texts = [];
          document.addEventListener("copy", () => texts.push(document.activeElement.value), true);
          document.querySelector("div.highlight-console button.copybtn").click();
          return texts;
        })()"""
    )
    assert [text.split()[:2] for text in copied] == [["amdcni", "manifests"]]


@ON_EACH_PAGE
def test_the_button_copies_every_line_that_somebody_types(browser: Page, page: str) -> None:
    browser.resize(WIDE)
    browser.open(path_of(page).as_uri())
    blocks = browser.evaluate(
        """(() => {
          let copied = null;
          document.addEventListener("copy", () => copied = document.activeElement.value, true);
          return [...document.querySelectorAll("div.highlight > pre")].map(pre => {
            copied = null;
            pre.parentElement.querySelector("button.copybtn").click();
            return [pre.closest("[class*=highlight-]").className, pre.innerText, copied];
          });
        })()"""
    )
    for kind, shown, copied in blocks:
        # Elsewhere, what looks like root's prompt is a comment, and the rest would not be copied.
        assert "console" in kind or re.search(r"^# (?=[a-z])", shown, re.MULTILINE) is None
        assert copied.strip() == what_is_typed(shown).strip()


def what_is_typed(shown: str) -> str:
    """The whole block, or in a session what is behind the prompts, with what goes on below."""
    typed: list[str] = []
    goes_on = False
    for line in shown.splitlines():
        prompt = PROMPT.match(line)
        if prompt or goes_on:
            typed.append(line[prompt.end() :] if prompt else line)
            goes_on = line.endswith("\\")
    return "\n".join(typed) if typed else shown


def test_the_landing_page_has_a_door_for_each_reader(browser: Page) -> None:
    browser.open(path_of("index").as_uri())
    doors = browser.evaluate(
        """[...document.querySelectorAll(".sd-card")].map(card => [
          card.querySelector(".sd-card-title").innerText,
          card.querySelector("a").href.replace(/.*\\/html\\//, ""),
        ])"""
    )
    assert doors == [
        ["I operate nodes", "how-to/install-on-a-cluster.html"],
        ["I write CNI plugins", "tutorial/index.html"],
        ["It is night, and a NIC is gone", "at-night.html"],
    ]


def test_the_landing_page_shows_the_picture_and_the_doors_without_scrolling(browser: Page) -> None:
    browser.resize(WIDE)
    browser.open(path_of("index").as_uri())
    ends = browser.evaluate(
        """["article svg", ".sd-card:last-child"].map(
          each => document.querySelector(each).getBoundingClientRect().bottom)"""
    )
    assert [end for end in ends if end > 900] == []


@ON_EACH_PAGE
def test_the_page_for_the_night_is_first_in_the_navigation(browser: Page, page: str) -> None:
    # On the page itself, the link leads to its top.
    first = seen(browser, page).wide.first.removesuffix("#")
    assert first == path_of("at-night").as_uri()


def test_the_version_is_at_the_top_of_the_navigation(browser: Page) -> None:
    browser.open(path_of("index").as_uri())
    brand = browser.evaluate("document.querySelector('.sidebar-brand').innerText")
    assert __version__ in brand


@pytest.mark.parametrize("words", ["article p", "article svg text", "article pre .c1"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_can_be_read_in_the_readers_colours(browser: Page, scheme: str, words: str) -> None:
    browser.prefer(scheme)
    try:
        browser.open(path_of("index").as_uri())
        found = browser.evaluate(f"{_CONTRAST}({words!r})")
    finally:
        browser.prefer("light")
    assert (found["page"] < 0.1) == (scheme == "dark")
    assert found["contrast"] >= READABLE


def test_a_reader_can_choose_the_colours(browser: Page) -> None:
    browser.open(path_of("index").as_uri())
    themes = browser.evaluate(
        """[1, 2, 3].map(() => {
          [...document.querySelectorAll(".theme-toggle")].find(each => each.offsetParent).click();
          return document.body.dataset.theme;
        })"""
    )
    assert set(themes) == {"auto", "light", "dark"}


def test_a_page_with_faults_is_noticed(browser: Page, tmp_path: Path) -> None:
    """What the tests above rely on; a browser that noticed nothing would let all of them pass."""
    page = tmp_path / "page.html"
    page.write_text(
        """<!DOCTYPE html><div style="width: 2000px">wide</div><img src="missing.png">
        <pre style="width: 50px; overflow: auto">a line that does not fit</pre>
        <script>console.error("said"); missing()</script><script src="https://amd.com/x.js"></script>
        """
    )
    browser.resize(WIDE)
    complaints = " ".join(browser.open(page.as_uri()))
    for words in ("missing.png", "said", "missing is not defined", "asks for https://amd.com/x.js"):
        assert words in complaints
