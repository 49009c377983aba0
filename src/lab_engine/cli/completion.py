"""Completion of commands, keys and options in bash and zsh, for a program with several commands."""

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.cli.main import main
from lab_engine.config.command import load_command
from lab_engine.config.command_line import OF_RECORDED, is_recorded
from lab_engine.config.written_out import write_out

OPTIONS = ("--shell-completion", "-sc")
ZSH = """\
whence compdef >/dev/null || { autoload -Uz compinit && compinit; }
autoload -Uz bashcompinit && bashcompinit
"""
SHELLS = {"install=bash": "", "install=zsh": ZSH}
SCRIPT = """\
_PROGRAM_complete() {
    local line="${COMP_LINE:0:$COMP_POINT}"
    local word="${line##* }"
    COMPREPLY=($(compgen -W "$(COMP_LINE="$line" PROGRAM -sc query 2>/dev/null)" -- "$word"))
    case "$COMP_WORDBREAKS" in *=*) COMPREPLY=("${COMPREPLY[@]#"${word%"${word##*=}"}"}");; esac
}
complete -o nospace -o default -F _PROGRAM_complete PROGRAM"""
"""Bash gives and takes the part after = as a word of its own, zsh the whole word."""


def complete(package: str, commands: Sequence[str], words: Sequence[str]) -> None:
    """Print the shell's function, or answer its question: which words may stand at the end of `COMP_LINE`.

    Args:
        package: of the project.
        commands: names of the modules.
        words: after the option: install=bash, install=zsh or query.

    Raises:
        UserError: they are others.
    """
    if words == ["query"]:
        _, *typed = os.environ["COMP_LINE"].split(" ")
        if not typed[1:]:
            print(*(f"{name} " for name in commands))  # noqa: T201
        elif (name := typed[0].replace("-", "_")) in commands:
            _answer(f"{package}.{name}", [word for word in typed[1:-1] if word], typed[-1])
    elif len(words) == 1 and words[0] in SHELLS:
        print(SHELLS[words[0]] + SCRIPT.replace("PROGRAM", Path(sys.argv[0]).name))  # noqa: T201
    else:
        raise UserError(f"{OPTIONS[0]} is refused without a shell: give install=bash or install=zsh")


def _answer(module: str, before: list[str], last: str) -> None:
    command = load_command(module)
    own = [f"{short}=" for short in command.short] + ([*OF_RECORDED] if command.resumes else [])
    print(*own)  # noqa: T201
    with suppress(UserError):  # a folder that is not there
        before = [word for word, _ in write_out(command, before) if not is_recorded(word)]
    os.environ["COMP_LINE"] = " ".join([command.name, *before, last])
    sys.argv[1:] = ["-sc", "query=bash"]
    main(command, sys.argv[0])
