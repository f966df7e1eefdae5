"""The man pages say what `--help` says."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from amdcni.cli.arguments import EXAMPLES, parser
from amdcni.cli.parsing import parsers_in
from scripts import man_pages
from scripts.man_pages import Page, escaped, roff, sentences

MAN = Path(man_pages.__file__).parents[1] / "man"
PAGES = {page.name: page for page in man_pages.pages()}


PARSERS = {each.prog.replace(" ", "-"): each for each in parsers_in(parser())}


def test_the_pages_in_the_repository_are_up_to_date() -> None:
    kept = {str(path.relative_to(MAN)): path.read_text() for path in MAN.glob("*/*")}
    assert kept == {page.path: roff(page) for page in PAGES.values()}, "run `make man`"


def test_each_command_has_a_page_and_so_has_the_plugin() -> None:
    assert set(PAGES) == {*PARSERS, "amd-host-device"}


def test_the_page_above_names_each_page_below() -> None:
    for name in PAGES:
        above = name.rpartition("-")[0]
        if above in PARSERS:
            assert f"{name}(1)" in PAGES[above].see_also
            assert f"{above}(1)" in PAGES[name].see_also


@pytest.mark.parametrize("name", PARSERS)
def test_a_page_has_all_that_the_help_lists(name: str) -> None:
    shown = PARSERS[name].format_help().partition("\nexamples:")[0]
    listed = re.findall(r"^ {2,4}([^\s,]+)", shown, re.M)
    assert "-h" in listed
    text = roff(PAGES[name])
    assert [
        each for each in listed if escaped(each.strip("{}").replace(",", "|")) not in text
    ] == []


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_page_has_the_examples_of_the_help(name: str) -> None:
    section = roff(PAGES[f"amdcni-{name}"]).partition(".SH EXAMPLES\n")[2]
    assert [each for each in EXAMPLES[name] if escaped(each) not in section] == []


def test_the_page_of_the_plugin_explains_each_variable() -> None:
    text = roff(PAGES["amd-host-device"])
    sources = "".join(path.read_text() for path in (MAN.parent / "amdcni/core").rglob("*.py"))
    known = set(re.findall('"(CNI_[A-Z]+)"', sources))
    assert {"CNI_NETNS", "CNI_ARGS"} <= known
    assert [each for each in known if f".TP\n\\fB{each}\\fR\n" not in text] == []


needs_mandoc = pytest.mark.skipif(shutil.which("mandoc") is None, reason="mandoc is not installed")


def shown(text: str) -> str:
    """A page as people see it, on the longest lines that mandoc makes."""
    asked = ["mandoc", "-T", "utf8", "-O", "width=1000"]
    done = subprocess.run(asked, input=text, capture_output=True, text=True, check=True)
    return re.sub(".\b", "", done.stdout)


@needs_mandoc
@pytest.mark.parametrize("name", PAGES)
def test_mandoc_finds_no_fault_with_a_page(name: str) -> None:
    asked = ["mandoc", "-T", "lint", "-W", "warning", str(MAN / PAGES[name].path)]
    done = subprocess.run(asked, capture_output=True, text=True, check=False)
    faults = [line for line in done.stdout.splitlines() if "missing date" not in line]
    assert (faults, done.stderr) == ([], "")


@needs_mandoc
@pytest.mark.parametrize("name", PARSERS)
def test_a_page_shows_the_words_of_the_help(name: str) -> None:
    text = " ".join(shown(roff(PAGES[name])).split())
    assert " ".join((PARSERS[name].description or "").split()) in text
    formatter = PARSERS[name]._get_formatter()
    helped = [action for action in PARSERS[name]._actions if action.help]
    assert [a.dest for a in helped if formatter._expand_help(a) not in text] == []


@needs_mandoc
@pytest.mark.parametrize(
    "text", [".TH x", "'br", "\\fBx", "--a-b", '`x\' "y"', "a\\(aqb \\e", "x.  .sp", "~^"]
)
def test_whatever_a_text_means_to_roff_is_shown_as_it_is(text: str) -> None:
    page = Page("x", 1, "y", "x", text, (), ("z(1)",))
    (seen,) = re.findall(r"DESCRIPTION\n +(.*?)\n\n", shown(roff(page)), re.S)
    assert " ".join(seen.split()) == " ".join(text.split())


def test_sentences_are_lines() -> None:
    assert sentences("One.  Two\nthree.") == "One.\nTwo\nthree."
