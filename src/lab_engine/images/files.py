"""All files in a folder and its subfolders."""

import mimetypes
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean_path, printable

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


def refuse_class_folders(root: str | Path, usual: str | Path, option: str) -> None:
    """Refuse a `data.root` of images sorted by class, where the data that are trained on are others.

    Args:
        root: in which two folders or more, or two in its folder `train`, hold images, by the suffixes of their names.
        usual: never refused, because nobody has named it.
        option: word that chooses the data, in spite of `root`.

    Raises:
        UserError: it is such a folder.
    """
    root = Path(root)
    if root == Path(usual).absolute():
        return
    if any(sum(map(_holds_an_image, _folders(folder))) >= 2 for folder in (root, root / "train")):
        given = printable(str(root))
        raise UserError(
            f"data.root={given} is refused: it holds images sorted into folders, and {option} reads none of them.\n"
            f"To train on these images, write data={given}; otherwise add {option}."
        )


def _folders(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [each for each in folder.iterdir() if each.is_dir() and not is_ignored(each.name)]


def _holds_an_image(folder: Path) -> bool:
    kinds = (mimetypes.guess_type(each.name)[0] for each in folder.iterdir())
    return any(kind and kind.startswith("image/") for kind in kinds)


def refuse_missing(root: str | Path) -> None:
    """Refuse a `data.root` that is no folder.

    Raises:
        UserError: there is no such folder.
    """
    root = Path(root)
    if not root.is_dir():
        kind = "is a file, not a folder" if root.is_file() else f"does not exist{did_you_mean_path(root)}"
        raise UserError(
            f"data.root={printable(str(root))} {kind}\n"
            "Set data.root=DIR to a folder with train/<class>/* and test/<class>/*, or with <class>/*."
        )
