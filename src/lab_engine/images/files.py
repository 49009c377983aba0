"""All files in a folder and its subfolders."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.wording import printable

LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found"}
"""Lower-case names of files and folders that Windows, macOS and network storage put among images."""


def is_ignored(name: str) -> bool:
    """Return whether the name of a file or folder starts with a dot or is one of `LITTER`."""
    return name.startswith(".") or name.lower() in LITTER


def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Yield path and `stat` of every ordinary file, in no order; see `is_ignored` for those that are skipped.

    Links to files are followed, but not links to folders, which may loop. Paths are strings, because Path objects
    would make the walk much slower, which runs at every start.
    """
    for entry in os.scandir(folder):
        if is_ignored(entry.name):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(facts.st_mode):
                if not os.path.isfile(entry.path):  # noqa: PTH113
                    continue
                facts = entry.stat()
            if stat.S_ISREG(facts.st_mode):  # reading a pipe would wait for ever
                yield entry.path, facts


def refuse_missing(root: str | Path) -> None:
    """Refuse a `data.root` that is no folder.

    Raises:
        UserError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        kind = "is a file, not a folder" if root.is_file() else "does not exist"
        raise UserError(
            f"data.root={printable(str(root))} {kind}.\n"
            "Set data.root=DIR to a folder with train/<class>/* and test/<class>/*, or with <class>/*."
        )
