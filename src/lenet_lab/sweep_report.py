"""Compare the jobs of a sweep: `python -m lenet_lab.sweep_report SWEEP_FOLDER [overrides]`."""

import sys
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.quoting import quoted
from lab_engine.cli.main import main
from lab_engine.config.command import Command
from lab_engine.config.explain import user_errors

COMMAND = Command(
    "lenet_lab.sweep_report",
    check="lenet_lab.checks:check_sweep_report",
    work="lab_engine.sweeps.compare:compare",
    leaves_files=False,
)


def name_the_folder(words: list[str]) -> list[str]:
    """Return the words of the command line with `sweep=` before the folder, quoted as Hydra reads it.

    The folder is the word that is neither an option nor KEY=VALUE, or that is the name of an existing folder.

    Raises:
        UserError: there is more than one.
    """
    found = [
        number
        for number, (before, word) in enumerate(zip(["", *words], words, strict=False))
        if not word.startswith("-") and not before.startswith("-") and ("=" not in word or Path(word).is_dir())
    ]
    if len(found) > 1:
        raise UserError(f"{' '.join(words[number] for number in found)}: give one folder, that of the sweep")
    return [_quoted(word) if number in found else word for number, word in enumerate(words)]


def _quoted(folder: str) -> str:
    if Path(folder).is_dir():
        folder = str(Path(folder).absolute())  # a name such as ~x is meant as it is
    return f"sweep={quoted(folder)}"


if __name__ == "__main__":
    with user_errors():
        sys.argv[1:] = name_the_folder(sys.argv[1:])
    main(COMMAND)
