"""`amdcni completion`: the script by which a shell completes the command line.

The scripts are made from the parser by the package shtab, so that commands and options take no
process to complete.  For what only the node knows, a script asks this command again, with --words.
"""

import argparse
from collections.abc import Mapping
from typing import IO, Any, Final

from amdcni.cli.arguments import Shell, parser
from amdcni.cli.options import Words
from amdcni.cli.parsing import parsers_in


def serve(options: argparse.Namespace, stdout: IO[str], _: IO[str]) -> int:
    """Print the script for a shell, or the words that may be typed now."""
    shell = Shell(options.shell)
    if options.words is None:
        stdout.write(script(shell))
        return 0
    from amdcni.cli.words import find_words

    for word, about in find_words(Words(options.words)).items():
        has_column = shell in (Shell.ZSH, Shell.FISH) and about
        stdout.write(f"{word}\t{about}\n" if has_column else f"{word}\n")
    return 0


def script(shell: Shell) -> str:
    """The script for a shell."""
    import shtab

    whole = parser()
    for command in parsers_in(whole):
        for action in command._actions:
            _prepare(action, whole)
            if shell is Shell.ZSH and action.nargs != 0:
                # So zsh says that a value may also follow a =.
                action.option_strings = [
                    f"{each}=" if each.startswith("--") else each for each in action.option_strings
                ]
    made: str = shtab.complete(whole, shell=shell.value, preamble=_PREAMBLES.get(shell, ""))
    return f"{made.rstrip()}\n{_ENDS.get(shell, '')}"


def _prepare(action: argparse.Action, whole: argparse.ArgumentParser) -> None:
    """Tell shtab how the value of an argument is completed, by what it is called."""
    import shtab

    if isinstance(action, argparse._SubParsersAction):
        for choice in action._choices_actions:
            # A menu has no room for all that a command's help says.
            action.choices[choice.dest].description = choice.help
    name = str(action.metavar)
    completes: Mapping[str, Any] | None = None
    if name in LIVE:
        completes = {each.value: text.format(LIVE[name]) for each, text in _ASKING.items()}
    elif name in FILES:
        completes = shtab.FILE
    elif name in FOLDERS:
        completes = shtab.DIRECTORY
    elif name in COMMANDS:
        (commands,) = (each for each in whole._actions if each.dest == "command")
        action.choices = tuple(commands.choices or ())
    if completes is not None:
        action.complete = completes  # type: ignore[attr-defined]  # Where shtab looks for it.


LIVE: Final = {
    "ID": Words.ATTACHMENTS,
    "[RESOURCE=]ID": Words.DEVICES,
    "NAMESPACE": Words.NAMESPACES,
}
"""What only the node knows, by the metavar of the arguments whose values these are."""

FILES: Final = {"FILE", "NAD.yaml", "PATH"}
"""The metavars of files."""

FOLDERS: Final = {"DIR", "DIRS", "FOLDER", "TREE"}
"""The metavars of folders."""

COMMANDS: Final = {"WORD"}
"""The metavars of commands."""

_ASKING: Final = {
    Shell.BASH: "_amdcni_{}",
    Shell.ZSH: "_amdcni_{}",
    Shell.FISH: "(_amdcni_words {})",
}
"""What a script calls for a kind of words.  That for tcsh has no live words."""

# Each script asks the amdcni that is being typed, which need not be in PATH.  It says nothing of an
# error: a shell would print it into the line.

_BASH: Final = """
_amdcni_words() {
  local word
  while IFS= read -r word; do
    [[ $word == "$2"* ]] && printf '%s\\n' "$word"
  done < <("${COMP_WORDS[0]/#\\~/$HOME}" completion bash --words "$1" 2>/dev/null </dev/null)
}
""" + "".join(f'_amdcni_{each}() {{ _amdcni_words {each} "$1"; }}\n' for each in Words)

_BASH_END: Final = """
# Bash takes words apart at : and =, so a PCI address would be several, and --output=json as well.
_amdcni() {
  local rest=$COMP_LINE index word apart
  local -a joined=() whole=()
  for ((index = 0; index <= COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    apart=${rest%%[![:space:]]*}
    rest=${rest#"$apart"}
    rest=${rest#"$word"}
    if [[ $index -gt 0 && -z $apart ]]; then
      joined[${#joined[@]}-1]+=$word
    else
      joined+=("$word")
    fi
  done
  for word in "${joined[@]}"; do
    if [[ $word == --*=* ]]; then whole+=("${word%%=*}" "${word#*=}"); else whole+=("$word"); fi
  done
  # Bash replaces only what is behind the last : or =.
  local typed=${COMP_WORDS[COMP_CWORD]}
  [[ $typed == *[!:=]* ]] || typed=
  local -a COMP_WORDS=("${whole[@]}")
  local COMP_CWORD=$((${#whole[@]} - 1))
  word=${whole[COMP_CWORD]}
  local kept=${word%"$typed"}
  _shtab_amdcni
  COMPREPLY=("${COMPREPLY[@]#"$kept"}")
}

complete -o bashdefault -F _amdcni amdcni
"""

_ZSH: Final = """
_amdcni_words() {
  local kind=$1 said line
  local -a names=() lines=()
  shift
  said=$(${_comp_command1:-amdcni} completion zsh --words $kind 2>/dev/null </dev/null)
  for line in ${(f)said}; do
    names+=("${line%%$'\\t'*}")
    lines+=("${line/$'\\t'/  -- }")
  done
  compadd "$@" -l -d lines -a names
}
""" + "".join(f'_amdcni_{each}() {{ _amdcni_words {each} "$@" }}\n' for each in Words)

_FISH: Final = """
# Only arguments that are files are completed with files.
complete -c amdcni -f

function _amdcni_words
  set -l typed (commandline -opc)
  $typed[1] completion fish --words $argv[1] 2>/dev/null </dev/null
end
"""

_PREAMBLES: Final = {Shell.BASH: _BASH, Shell.ZSH: _ZSH, Shell.FISH: _FISH}
_ENDS: Final = {Shell.BASH: _BASH_END}
