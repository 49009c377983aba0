"""Collect the image files that `images=` gives: files, folders, patterns, standard input."""

import glob
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, did_you_mean_path, printable
from lab_engine.images.decode import is_image
from lab_engine.images.files import is_ignored, walk

STANDARD_INPUT = "-"
MAX_QUOTED = 60  # characters of input in a message


def find_images(given: str | Sequence[str]) -> tuple[list[str | bytes], list[str]]:
    """Return the paths of the images, and those of other files that lay among them; each once.

    A folder stands for all files below it, sorted. Folders and patterns skip hidden files, links to folders, and what
    systems leave there (`is_ignored`). A path that exists is never read as a pattern, even if it contains `*`, `?` or
    `[`. A file that is named itself is always returned as an image; an image on standard input is its bytes.

    Args:
        given: paths of files or folders, patterns with `*`, `**`, `?` or `[…]`, or "-" for standard input, which
            holds an image, or paths that end in a newline or NUL.

    Raises:
        UserError: a path or pattern leads to no image, or standard input holds neither an image nor paths.
    """
    images: dict[str | bytes, None] = {}  # an ordered set
    others: dict[str | bytes, None] = {}
    for each in [given] if isinstance(given, str) else given:
        found = dict(_from_standard_input() if each == STANDARD_INPUT else _from(each))
        kept = {file: None for file, named in found.items() if named or is_image(file)}
        if not kept:
            why = f"to no image among {counted(len(found), 'file')}" if found else "to no files"
            raise UserError(f"images={shown(each)} leads {why}. Give a file, a folder of images, or a pattern.")
        images |= kept
        others |= dict.fromkeys(found)
    return list(images), [file for file in others if isinstance(file, str) and file not in images]


def shown(name: str | bytes) -> str:
    """Return the path of a file for display: relative to the current folder, without control characters."""
    if isinstance(name, bytes):
        return "standard input"
    return printable(name.removeprefix(f"{Path.cwd()}/"))


Found = tuple[str | bytes, bool]
"""A file, and whether it was named itself, not found in a folder or by a pattern."""


def _from(given: str) -> Iterator[Found]:
    path = Path(given)
    if os.path.lexists(path):
        yield from _below(given, named=True)
        return
    root = next(folder for folder in path.parents if folder.exists())  # not part of the pattern, even if it contains *
    pattern = path.relative_to(root)
    if not glob.has_magic(str(pattern)):
        raise UserError(f"images={shown(given)}: there is no such file or folder{did_you_mean_path(path)}")
    yield from _matches(root, pattern)


def _below(path: str, named: bool) -> Iterator[Found]:
    if os.path.isdir(path):  # noqa: PTH112
        yield from ((file, False) for file in sorted(file for file, _ in walk(path)))
    else:
        yield path, named


def _matches(root: Path, pattern: Path) -> Iterator[Found]:
    """Expand a pattern as a shell does; by pathlib, whose `**` follows no links to folders: they may loop."""
    hidden = any(is_ignored(part) for part in pattern.parts)
    try:
        matches = sorted(root.glob(str(pattern)))
    except ValueError as error:
        raise UserError(f"images={shown(str(root / pattern))} is refused: {error}") from error
    for match in matches:
        visible = hidden or not any(map(is_ignored, match.relative_to(root).parts))
        if visible and not (match.is_dir() and match.is_symlink()):
            yield from _below(str(match), named=False)


def _from_standard_input() -> Iterator[Found]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(
            "images=- reads standard input, but nothing is piped to it. Pipe an image or paths, one per line."
        )
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise UserError("images=-: standard input is empty. Pipe an image or paths, one per line.")
    lines = [os.fsdecode(line) for line in content.split(b"\0" if b"\0" in content else b"\n") if line]
    if not os.path.lexists(lines[0]):
        if is_image(content):
            yield content, True
            return
        if not any(map(os.path.lexists, lines)):
            raise UserError(
                "images=-: standard input holds neither a readable image nor paths of files.\n"
                f"It begins with: {shown(lines[0][:MAX_QUOTED])}"
            )
    for line in lines:
        yield from _below(str(Path(line).absolute()), named=True)
