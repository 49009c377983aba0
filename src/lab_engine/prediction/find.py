"""Which images are meant: files, folders, patterns, standard input."""

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
LONGEST = 60  # characters of what is quoted in a message


def find_images(given: str | Sequence[str]) -> list[str | bytes]:
    """Return the paths of the files that are meant, each once, or the content of one that came by standard input.

    A folder stands for all files below it, sorted; hidden ones and links to folders are passed over, as they are by a
    pattern. A name that exists is no pattern, whatever it holds.

    Args:
        given: paths of files or folders, patterns with `*`, `**`, `?` or `[…]`, or "-" for standard input, which
            holds an image or paths, one a line or ended by NUL.

    Raises:
        UserError: a name or pattern leads to no file, or standard input holds nothing of use.
    """
    found: dict[str | bytes, None] = {}  # in order
    for each in [given] if isinstance(given, str) else given:
        files: list[str | bytes] = list(_from_standard_input() if each == STANDARD_INPUT else _from(each))
        found.update(dict.fromkeys(files))
        if not files:
            raise UserError(f"images={shown(each)} leads to no files. Give a file, a folder of images, or a pattern.")
    return list(found)


def shown(name: str | bytes) -> str:
    """Write the path of a file as a person would from here, and as `printable`: less the current folder."""
    if isinstance(name, bytes):
        return "standard input"
    return printable(name.removeprefix(f"{Path.cwd()}/"))


def _from(given: str) -> Iterator[str]:
    path = Path(given)
    if os.path.lexists(path):
        yield from _below(given)
        return
    root = next(folder for folder in path.parents if folder.exists())  # a name that exists, whatever it holds
    pattern = path.relative_to(root)
    if not glob.has_magic(str(pattern)):
        raise UserError(f"images={shown(given)}: there is no such file or folder.")
    yield from _matches(root, pattern)


def _below(path: str) -> Iterable[str]:
    return sorted(file for file, _ in walk(path)) if os.path.isdir(path) else [path]  # noqa: PTH112


def _matches(root: Path, pattern: Path) -> Iterator[str]:
    """Expand as a shell does; pathlib, unlike glob, follows no links to folders in `**`, where they may loop."""
    hidden = any(part.startswith(".") for part in pattern.parts)
    try:
        matches = sorted(root.glob(str(pattern)))
    except ValueError as error:
        raise UserError(f"images={shown(str(root / pattern))} is refused: {error}") from error
    for match in matches:
        in_sight = hidden or not any(part.startswith(".") for part in match.relative_to(root).parts)
        if in_sight and not (match.is_dir() and match.is_symlink()):
            yield from _below(str(match))


def _from_standard_input() -> list[str] | list[bytes]:
    if sys.stdin is None or sys.stdin.isatty():
        raise UserError("images=- reads standard input, and nothing is piped there. Pipe an image, or a path a line.")
    content = sys.stdin.buffer.read()
    if not content.strip():
        raise UserError("images=-: standard input is empty. Pipe an image, or a path a line.")
    lines = [os.fsdecode(line) for line in content.split(b"\0" if b"\0" in content else b"\n") if line]
    if not os.path.lexists(lines[0]):
        if _is_image(content):
            return [content]
        if not any(map(os.path.lexists, lines)):
            raise UserError(
                "images=-: standard input holds neither an image that can be read nor paths of files.\n"
                f"It begins with: {shown(lines[0][:LONGEST])}"
            )
    return [str(Path(file)) for line in lines for file in _below(str(Path(line).absolute()))]


def _is_image(content: bytes) -> bool:
    try:
        Image.open(io.BytesIO(content), formats=FORMATS).close()
    except Exception as error:  # see `lab_engine.images.decode.read_image`
        return isinstance(error, Image.DecompressionBombError)
    return True
