"""Writes the man pages: `python -m scripts.man_pages FOLDER`.

Those of `amdcni` and its commands are made from the parser that also makes `--help`, and that of
`amd-host-device` from what it says of itself and from the reference of its environment.

The package argparse-manpage would put all commands on one page, and break paths at their hyphens.
"""

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

import attrs

from amdcni import __version__
from amdcni.cli.arguments import EXAMPLES, parser
from amdcni.core.policy import POLICY_PATH
from amdcni.core.request import DEFAULT_DATA_DIR
from amdcni_shim.__main__ import ABOUT
from amdcni_shim.client import SOCKET_PATH

if TYPE_CHECKING:
    Subcommands = argparse._SubParsersAction[argparse.ArgumentParser]

ENVIRONMENT: Final = Path(__file__).parents[1] / "docs/reference/environment.md"


@attrs.frozen
class Entry:
    """A term, already as roff, and what it means."""

    term: str
    text: str


@attrs.frozen
class Section:
    """A section after the description: text, entries, or lines that stay as they are."""

    title: str
    entries: tuple[Entry, ...] = ()
    text: str = ""
    typed: tuple[str, ...] = ()


@attrs.frozen
class Page:
    """A page; `synopsis` and the terms of entries are roff, everything else is plain text."""

    name: str
    number: int
    summary: str
    synopsis: str
    description: str
    sections: tuple[Section, ...]
    see_also: tuple[str, ...]

    @property
    def path(self) -> str:
        return f"man{self.number}/{self.name}.{self.number}"


def escaped(text: str) -> str:
    """Plain text as roff shows it unchanged, whatever its characters mean to roff."""
    for character, escape in {"\\": "\\e", "-": "\\-", "'": "\\(aq", "`": "\\(ga"}.items():
        text = text.replace(character, escape)
    return re.sub("^[.]", "\\&.", text, flags=re.M)


def sentences(text: str) -> str:
    """Text as roff, one sentence to a line, as its source tells by two spaces."""
    lines = (" ".join(each.split()) for each in re.split(r" {2,}|\n", text))
    return "\n".join(escaped(line) for line in lines if line)


def roff(page: Page) -> str:
    """The page in the macros of man(7)."""
    return "\n".join(_lines_of(page)) + "\n"


def _lines_of(page: Page) -> Iterator[str]:
    # No date: the version says more, and a page stays the same until its content changes.
    yield f'.TH {page.name.upper()} {page.number} "" "amdcni {__version__}"'
    yield from (".SH NAME", f"{escaped(page.name)} \\- {escaped(page.summary)}")
    yield from (".SH SYNOPSIS", page.synopsis)
    yield from (".SH DESCRIPTION", sentences(page.description))
    for section in page.sections:
        yield f".SH {section.title}"
        if section.text:
            yield sentences(section.text)
        for entry in section.entries:
            yield from (".TP", entry.term, sentences(entry.text))
        if section.typed:
            yield from (".nf", *map(escaped, section.typed), ".fi")
    links = (f".BR {escaped(other).replace('(', ' (')}" for other in page.see_also)
    yield from (".SH SEE ALSO", " ,\n".join(links))


def command_pages(whole: argparse.ArgumentParser, summary: str, above: str = "") -> Iterator[Page]:
    """The page of a parser, and those of its commands, and of theirs."""
    name, commands = whole.prog.replace(" ", "-"), dict(_commands_of(whole))
    inner = tuple(f"{name}-{command}(1)" for command in commands)
    yield Page(
        name,
        1,
        summary,
        synopsis_of(whole),
        whole.description or "",
        tuple(section for section in _sections_of(whole) if section.entries or section.typed),
        (above or "amd-host-device(8)", *inner),
    )
    for command, said in commands.items():
        yield from command_pages(_parser_of(whole, command), said, f"{name}(1)")


def _subparsers_of(whole: argparse.ArgumentParser) -> Iterator["Subcommands"]:
    yield from (a for a in whole._actions if isinstance(a, argparse._SubParsersAction))


def _commands_of(whole: argparse.ArgumentParser) -> Iterator[tuple[str, str]]:
    for action in _subparsers_of(whole):
        yield from ((choice.dest, choice.help or "") for choice in action._choices_actions)


def _parser_of(whole: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser:
    (found,) = (action.choices[command] for action in _subparsers_of(whole))
    return found


def _sections_of(whole: argparse.ArgumentParser) -> Iterator[Section]:
    formatter = whole._get_formatter()
    explained = [
        (action, Entry(term_of(action), formatter._expand_help(action) if action.help else ""))
        for action in whole._actions
        if not isinstance(action, argparse._SubParsersAction)
    ]
    yield Section("ARGUMENTS", tuple(e for a, e in explained if not a.option_strings and e.text))
    yield Section("OPTIONS", tuple(e for a, e in explained if a.option_strings))
    commands = (Entry(f"\\fB{escaped(name)}\\fR", said) for name, said in _commands_of(whole))
    yield Section("COMMANDS", tuple(commands))
    yield Section("EXAMPLES", typed=EXAMPLES.get(whole.prog.removeprefix("amdcni "), ()))


def term_of(action: argparse.Action) -> str:
    """An argument as roff, as its entry names it: `-h, --help`, `--checkpoint [FILE]`."""
    if not action.option_strings:
        return f"\\fI{escaped(_metavar(action))}\\fR"
    names = ", ".join(f"\\fB{escaped(name)}\\fR" for name in action.option_strings)
    return f"{names} {_values(action)}".strip()


def synopsis_of(whole: argparse.ArgumentParser) -> str:
    """How a command is called, one line for each of its arguments; its options come first."""
    shown = [action for action in whole._actions if not isinstance(action, argparse._HelpAction)]
    options = [action for action in shown if action.option_strings]
    together = {
        a: group for group in whole._mutually_exclusive_groups for a in group._group_actions
    }
    lines, seen = [f".B {escaped(whole.prog)}"], set[argparse.Action]()
    for option in options:
        if option in seen:
            continue
        group = together[option]._group_actions if option in together else [option]
        seen.update(group)
        words = " | ".join(_called(each) for each in group)
        lines.append(words if option.required else f"[{words}]")
    return "\n".join(lines + [_values(a) for a in shown if not a.option_strings])


def _called(option: argparse.Action) -> str:
    called = f"\\fB{escaped(option.option_strings[-1])}\\fR {_values(option)}".strip()
    return f"{called} ..." if isinstance(option, argparse._AppendAction) else called


def _values(action: argparse.Action) -> str:
    name = f"\\fI{escaped(_metavar(action))}\\fR"
    match action.nargs:
        case 0:
            return ""
        case "?":
            return f"[{name}]"
        case "*":
            return f"[{name}...]"
        case "+":
            return f"{name}..."
        case argparse.PARSER:
            return f"{name} ..."
        case _:
            return name


def _metavar(action: argparse.Action) -> str:
    if action.choices is not None and action.metavar is None:
        return "|".join(action.choices)
    return str(action.metavar or action.dest)


def plugin_page() -> Page:
    """The page of the plugin."""
    (name, summary), *rest = (line.split(": ", 1) for line in ABOUT.splitlines())
    what, speaks = summary.split("; ")
    (usage,) = rest[0]
    return Page(
        name,
        8,
        what,
        "\\fBCNI_COMMAND=\\fIVERB\\fR ...\n.B amd\\-host\\-device\n< \\fICONFIGURATION\\fR",
        f"{what}; {speaks}.  {usage}\nThe network configuration, a JSON object, is read from "
        "standard input.  The result, or an error object, is written to standard output, and the "
        "log to standard error.",
        (
            Section("ENVIRONMENT", tuple(_variables())),
            Section("FILES", tuple(_files())),
            Section(
                "EXIT STATUS",
                text="0 if the call has succeeded, and otherwise 1, with an error object.",
            ),
        ),
        ("amdcni(1)", "amdcni-agent(1)", "amdcni-doctor(1)", "amdcni-heal(1)"),
    )


def _variables() -> Iterator[Entry]:
    """The definitions of the reference, of which only words are left."""
    page = ENVIRONMENT.read_text()
    for name, text in re.findall(r"^`(CNI_\w+)`\n((?:[: ] .*\n)+)", page, re.M):
        plain = re.sub(r"\[([^]]+)\]\([^)]*\)|`([^`]*)`", r"\1\2", text)
        lines = (line[2:].strip() for line in plain.splitlines())
        yield Entry(f"\\fB{name}\\fR", "\n".join(lines))


def _files() -> Iterator[Entry]:
    for path, text in {
        DEFAULT_DATA_DIR: "The records of what the host had, one for each lent NIC.",
        POLICY_PATH: "What definitions may lend, and where they may write; the node's policy.",
        SOCKET_PATH.decode(): "Where the agent serves calls, if there is one.",
    }.items():
        yield Entry(f"\\fI{escaped(str(path))}\\fR", text)


def pages() -> Iterator[Page]:
    """All pages."""
    yield from command_pages(parser(), "shows which pods have this node's NICs, and heals")
    yield plugin_page()


def main(folder: Path) -> None:
    """Write all pages below `folder`, and remove those of commands that no longer exist."""
    texts = {folder / page.path: roff(page) for page in pages()}
    for old in set(folder.glob("man*/*")) - set(texts):
        old.unlink()
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
