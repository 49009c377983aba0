"""All files in a folder and its subfolders."""

import os
import re
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.wording import did_you_mean_path, names_in, printable

LITTER = {"thumbs.db", "ehthumbs.db", "desktop.ini", "__macosx", "@eadir", "#recycle", "$recycle.bin", "lost+found"}
"""Lower-case names of files and folders that Windows, macOS and network storage put among images."""

SUFFIX = re.compile(
    r"\.(apng|arw|avif|bmp|cr[23]|dds|dib|dng|gif|hei[cf]|ico|j2k|jfif|jp2|jpe|jpe?g|jp[fx]|jxl|nef|orf|pcx|p[bgnp]m|png|"
    r"psd|qoi|raf|rw2|svg|tga|tiff?|webp)",
    re.IGNORECASE,
)
"""The suffix of an image, also in a format that cannot be read."""
OTHER_SUFFIX = re.compile(
    r"\.(avi|csv|db|docx?|html?|ini|jsonl?|log|m4v|md|mkv|mov|mp[34]|np[yz]|pdf|py|rtf|tsv|txt|url|wav|webm|xlsx?|xml|xmp|"
    r"ya?ml|zip)",
    re.IGNORECASE,
)
"""The suffix of a file that people keep among photographs: notes, labels, films."""


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


def has_image_suffix(name: str) -> bool:
    """Return whether a name or path ends as that of an image, also in a format that cannot be read."""
    return SUFFIX.fullmatch(os.path.splitext(name)[1]) is not None  # noqa: PTH122 - Path takes four times as long


def is_of_another_kind(name: str) -> bool:
    """Return whether a name or path ends with an `OTHER_SUFFIX`."""
    return OTHER_SUFFIX.fullmatch(os.path.splitext(name)[1]) is not None  # noqa: PTH122


def refuse_class_folders(root: str | Path, option: str) -> None:
    """Refuse a `data.root` of images sorted by class, where the data are others and the command line does not say so.

    Args:
        root: refused if two folders in it, or in its folder `train`, hold images.
        option: word that chooses the data, in spite of `root`.

    Raises:
        UserError: it is such a folder, given without an option of `data`.
    """
    typed = {word.partition("=")[0] for word in sys.argv[1:]}
    if "data.root" not in typed or "data" in typed:
        return
    root = Path(root)
    for folder in (root, root / "train"):
        inside = [folder / name for name in names_in(folder) if not is_ignored(name)]
        if sum(any(map(has_image_suffix, names_in(each))) for each in inside) >= 2:
            given = printable(str(root))
            raise UserError(
                f"data.root={given} is refused: it holds images sorted into folders, and {option} reads none of them.\n"
                f"To train on these images, write data={given}; otherwise add {option}."
            )


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
