"""Collect the image files that `images=` gives: files, folders, patterns, standard input."""

import glob
import io
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from PIL import Image

from lab_engine.base.errors import UserError
from lab_engine.base.wording import printable
from lab_engine.images.decode import FORMATS
from lab_engine.images.files import walk

STANDARD_INPUT = "-"
MAX_QUOTED = 60  # characters of input in a message


def find_images(given: str | Sequence[str]) -> list[str | bytes]:
    """Return the paths of the files, each once; an image on standard input is returned as its bytes.

    A folder stands for all files below it, sorted. Folders and patterns skip hidden files and links to folders. A path
    that exists is never read as a pattern, even if it contains `*`, `?` or `[`.

    Args:
        given: paths of files or folders, patterns with `*`, `**`, `?` or `[…]`, or "-" for standard input, which
            holds an image, or paths that end in a newline or NUL.

    Raises:
        UserError: a path or pattern leads to no file, or standard input holds neither an image nor paths.
    """
    found: dict[str | bytes, None] = {}  # an ordered set
    for each in [given] if isinstance(given, str) else given:
        files: list[str | bytes] = list(_from_standard_input() if each == STANDARD_INPUT else _from(each))
        found.update(dict.fromkeys(files))
        if not files:
            raise UserError(f"images={shown(each)} leads to no files. Give a file, a folder of images, or a pattern.")
    return list(found)


def shown(name: str | bytes) -> str:
    """Return the path of a file for display: relative to the current folder, without control characters."""
    if isinstance(name, bytes):
        return "standard input"
    return printable(name.removeprefix(f"{Path.cwd()}/"))


def _from(given: str) -> Iterator[str]:
    path = Path(given)
    if os.path.lexists(path):
        yield from _below(given)
        return
    root = next(folder for folder in path.parents if folder.exists())  # not part of the pattern, even if it contains *
    pattern = path.relative_to(root)
    if not glob.has_magic(str(pattern)):
        raise UserError(f"images={shown(given)}: there is no such file or folder.")
    yield from _matches(root, pattern)


def _below(path: str) -> Iterable[str]:
    return sorted(file for file, _ in walk(path)) if os.path.isdir(path) else [path]  # noqa: PTH112


def _matches(root: Path, pattern: Path) -> Iterator[str]:
    """Expand a pattern as a shell does; by pathlib, whose `**` follows no links to folders: they may loop."""
    hidden = any(part.startswith(".") for part in pattern.parts)
    try:
        matches = sorted(root.glob(str(pattern)))
    except ValueError as error:
        raise UserError(f"images={shown(str(root / pattern))} is refused: {error}") from error
    for match in matches:
        visible = hidden or not any(part.startswith(".") for part in match.relative_to(root).parts)
        if visible and not (match.is_dir() and match.is_symlink()):
            yield from _below(str(match))


def _from_standard_input() -> list[str] | list[bytes]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError(
            "images=- reads standard input, but nothing is piped to it. Pipe an image or paths, one per line."
        )
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise UserError("images=-: standard input is empty. Pipe an image or paths, one per line.")
    lines = [os.fsdecode(line) for line in content.split(b"\0" if b"\0" in content else b"\n") if line]
    if not os.path.lexists(lines[0]):
        if _is_image(content):
            return [content]
        if not any(map(os.path.lexists, lines)):
            raise UserError(
                "images=-: standard input holds neither a readable image nor paths of files.\n"
                f"It begins with: {shown(lines[0][:MAX_QUOTED])}"
            )
    return [str(Path(file)) for line in lines for file in _below(str(Path(line).absolute()))]


def _is_image(content: bytes) -> bool:
    try:
        Image.open(io.BytesIO(content), formats=FORMATS).close()
    except Exception as error:  # see `lab_engine.images.decode.read_image`
        return isinstance(error, Image.DecompressionBombError)
    return True
