"""A program with several commands: `my-lab NAME [words]`, or `python -m my_lab NAME [words]`."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from lab_engine.base.errors import UserError
from lab_engine.base.imports import import_quickly
from lab_engine.base.program import SCRIPT_VARIABLE, command_for
from lab_engine.base.streams import prepare_streams
from lab_engine.base.wording import did_you_mean, shown
from lab_engine.cli.completion import OPTIONS, complete
from lab_engine.cli.main import main
from lab_engine.config.command import config_folder, load_command
from lab_engine.config.explain import user_errors

HELP = ("--help", "-h")
NAMED = "__main__.py"
"""Name of the file that `python -m my_lab` runs."""


def run_program(package: str, commands: Sequence[str], examples: Sequence[str]) -> None:
    """Run the command that the first word names, or list the commands.

    Args:
        package: of the project; it has a module for each command.
        commands: names of the modules.
        examples: of a command and its words, for the list.
    """
    script = "" if Path(sys.argv[0]).name == NAMED else sys.argv[0]
    os.environ[SCRIPT_VARIABLE] = script
    if script:  # modules of the user's own are found as with `python -m`, but last, so that they hide no package
        sys.path.append(str(Path.cwd()))
    prepare_streams()
    words = sys.argv[1:]
    if words[1:] and words[0] in HELP:  # --help train, or --help GROUP of the first command
        named = words[1].replace("-", "_") in commands
        words = [words[1], words[0], *words[2:]] if named else [commands[0], *words]
    if not words or words[0] in HELP:
        with user_errors():
            print(_listed(package, commands, examples), flush=True)  # noqa: T201
    elif words[0] in OPTIONS:
        with user_errors():
            complete(package, commands, words[1:])
    elif words == ["--version"]:
        print(Path(script).name or package, import_quickly(package).__version__)  # noqa: T201
    else:
        with user_errors():
            name = _named(package, words[0], commands)
        sys.argv[1:] = words[1:]
        main(load_command(f"{package}.{name}"), script)


def _named(package: str, word: str, commands: Sequence[str]) -> str:
    name = word.replace("-", "_")
    if name in commands:
        return name
    if "=" in word or word.startswith("-"):
        first = command_for(f"{package}.{commands[0]}", [word])
        raise UserError(f"{shown(word)} is refused here: name a command first, as in {first}")
    raise UserError(
        f"{shown(word)} is no command{did_you_mean(name, commands)}\ncommands: {', '.join(commands)}",
    )


def _listed(package: str, commands: Sequence[str], examples: Sequence[str]) -> str:
    """Return what the program is, its commands with a line each, and the examples."""

    def typed(text: str) -> str:
        name, *words = text.split()
        return command_for(f"{package}.{name}", words, recorded=True)

    conf, width = config_folder(package), max(map(len, commands))
    lines = [
        str(import_quickly(package).__doc__).splitlines()[0],
        "",
        f"  {typed('COMMAND KEY=VALUE')} …",
        "",
        "Commands:",
    ]
    for name in commands:
        header = yaml.safe_load((conf / f"{name}.yaml").read_text(encoding="utf-8"))["hydra"]["help"]["header"]
        lines.append(f"  {name:<{width}}  {header.splitlines()[0]}")
    lines += ["", "Examples:", *(f"  {typed(example)}" for example in examples)]
    lines += ["", f"`{typed('COMMAND --help')}` shows what a command takes."]
    return "\n".join(lines)
