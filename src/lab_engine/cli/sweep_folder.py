"""The folder of a sweep as a word without a key, for the command `sweep_report`."""

from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.quoting import quoted


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
