"""Real shells on a throwaway node, which complete what is typed.

Those that the machine lacks are Debian's packages, unpacked into a folder and not installed.
"""

import fcntl
import os
import platform
import pty
import select
import shlex
import sysconfig
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

from attrs import frozen

from amdcni.testing import Node
from amdcni.testing.namespaces import PLAIN_ENVIRONMENT
from tests.debian import lacking, run, unpack
from tests.patience import PATIENCE_S

CACHE: Final = Path(__file__).parents[2] / ".shells"
_LIBRARIES: Final = f"usr/lib/{platform.machine()}-linux-gnu"
_SCRIPTS: Final = sysconfig.get_path("scripts")


class Shell(Protocol):
    """A shell that has loaded the script of `amdcni completion`."""

    def complete(self, node: Node, typed: str) -> set[str]:
        """What the last word of a line, as typed, may become."""


def unpacked() -> Path:
    """Return the folder with zsh and fish, downloaded if they are not there yet.

    Raises:
        NotHere: this computer cannot download or run them.
    """
    CACHE.mkdir(exist_ok=True)
    root, complete = CACHE / "root", CACHE / "complete"
    with (CACHE / "lock").open("w") as lock:
        # One session at a time in a checkout downloads.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            unpack(lambda: sorted({*lacking("zsh", "fish"), "zsh", "fish"}), root)
            # Where fish looks for its settings if it is not installed.
            (root / "usr/etc").symlink_to("../etc")
            complete.touch()
    for program in ("bin/zsh", "usr/bin/fish"):
        run([root / program, "--version"], environment=_environment(root))
    return root


def _environment(root: Path | None, **more: str) -> dict[str, str]:
    found = {**PLAIN_ENVIRONMENT, "TERM": "dumb", "LANG": "C.UTF-8", **more}
    found["PATH"] = f"{_SCRIPTS}:{found['PATH']}"
    if root is not None:
        found["LD_LIBRARY_PATH"] = str(root / _LIBRARIES)
    return found


def make_shell(name: str, script: bytes, folder: Path) -> Shell:
    """Return a shell that has loaded its script, with its settings in a folder.

    Raises:
        NotHere: it cannot be had.
    """
    match name:
        case "bash":
            return _bash(script, folder)
        case "zsh":
            return _zsh(script, folder, unpacked())
        case "fish":
            return _fish(script, folder, unpacked())
    raise ValueError(name)


# ---- bash and zsh, at a terminal

_BEGIN: Final = "\x01"
_END: Final = "\x05"


@frozen
class AtATerminal:
    """A shell at a terminal, in which the keys `all_matches` type all that a word may become."""

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    all_matches: str

    def complete(self, node: Node, typed: str) -> set[str]:
        """What the last word of a line may become: the line is printed with all of it.

        An error that is printed meanwhile is an AssertionError.
        """
        settings = [f"{name}={value}" for name, value in self.environment.items()]
        pid, terminal = pty.fork()
        if pid == 0:
            os.execv(node.entry[0], [*node.entry, "env", "-i", *settings, *self.argv])
        try:
            _type(terminal, " echo BE''GUN\n", "BEGUN")
            line = f"{typed}{self.all_matches}{_BEGIN}printf '<%s>\\n' {_END}; echo EN''DED\n"
            shown = _type(terminal, line, "ENDED")
        finally:
            os.close(terminal)
            os.waitpid(pid, 0)
        assert "amdcni: " not in shown, shown
        words = [each[1:-1] for each in shown.splitlines() if each[:1] + each[-1:] == "<>"]
        kept = typed.split() if typed.endswith(" ") else typed.split()[:-1]
        assert words[: len(kept)] == kept, shown
        last = typed.removeprefix(" ".join(kept)).strip()
        # Without any match, the word stays as it was typed.
        return {each for each in words[len(kept) :] if each != last}


def _type(terminal: int, text: str, until: str) -> str:
    """Type a text, and return what is shown up to a line."""
    os.write(terminal, text.encode())
    shown, deadline = "", time.monotonic() + PATIENCE_S
    while until not in shown.splitlines():
        left = deadline - time.monotonic()
        if left < 0 or not select.select([terminal], [], [], left)[0]:
            raise AssertionError(f"the shell has not shown {until}, but: {shown}")
        shown += os.read(terminal, 65536).decode(errors="replace").replace("\r", "")
    return shown


def _bash(script: bytes, folder: Path) -> AtATerminal:
    (folder / "amdcni").write_bytes(script)
    settings = folder / "bashrc"
    settings.write_text(f"PS1=\nbind 'set enable-bracketed-paste off'\n. {folder}/amdcni\n")
    argv = ("bash", "--noprofile", "--rcfile", str(settings), "-i")
    return AtATerminal(argv, _environment(None, HOME=str(folder)), "\x1b*")


_ZSHRC: Final = """
PS1=
PROMPT_EOL_MARK=
unsetopt zle_bracketed_paste prompt_sp
autoload -Uz compinit
compinit -u -D
bindkey -e
zle -C all complete-word _generic
zstyle ':completion:all:*' completer _all_matches _complete
zstyle ':completion:all:*' insert true
bindkey '^Xa' all
"""


def _zsh(script: bytes, folder: Path, root: Path) -> AtATerminal:
    (folder / "site").mkdir()
    (folder / "site/_amdcni").write_bytes(script)
    functions = [path for path in (root / "usr/share/zsh/functions").rglob("*") if path.is_dir()]
    (modules,) = (root / _LIBRARIES / "zsh").iterdir()
    (folder / ".zshenv").write_text(
        f"module_path=({modules})\nfpath=({_words([folder / 'site', *functions])})\n"
    )
    (folder / ".zshrc").write_text(_ZSHRC)
    argv = (str(root / "bin/zsh"), "--no-global-rcs", "-i")
    return AtATerminal(argv, _environment(root, ZDOTDIR=str(folder)), "\x18a")


def _words(paths: Iterable[Path]) -> str:
    return " ".join(shlex.quote(str(path)) for path in paths)


# ---- fish, which says what it would offer


@frozen
class Fish:
    """fish, which prints what it would offer, with a few words about each."""

    root: Path
    folder: Path

    def complete(self, node: Node, typed: str) -> set[str]:
        """What the last word of a line may become."""
        return set(self.explained(node, typed))

    def explained(self, node: Node, typed: str) -> dict[str, str]:
        """The same, with what is said about each."""
        command = f"source {self.folder}/amdcni.fish; complete -C $argv[1]"
        argv = [str(self.root / "usr/bin/fish"), "--no-config", "-c", command, typed]
        done = node.run(argv, env=_environment(self.root, HOME=str(self.folder)))
        assert (done.returncode, done.stderr) == (0, b""), done
        return dict(self._lines(done.stdout.decode()))

    @staticmethod
    def _lines(said: str) -> Iterator[tuple[str, str]]:
        for line in said.splitlines():
            word, _, about = line.partition("\t")
            yield word, about


def _fish(script: bytes, folder: Path, root: Path) -> Fish:
    (folder / "amdcni.fish").write_bytes(script)
    return Fish(root, folder)
