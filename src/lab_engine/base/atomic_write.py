"""How small files reach the disk: whole, or not at all, whoever else writes them."""

import io
import os
import re
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TextIO

RANDOM_BYTES = 8  # in a name: too many for links under all of them


def name_beside(file: Path) -> Path:
    """Return a path in the folder of `file` that nobody can guess: none of what others have put there has it."""
    return file.with_name(f".{file.name}.{secrets.token_hex(RANDOM_BYTES)}.part")


def create_beside(file: Path) -> tuple[Path, io.BufferedRandom]:
    """Create an empty file in the folder of `file`, to be renamed to it once it is whole.

    Returns:
        Its path, and a stream to read and write it; the caller closes the one and renames or removes the other.
    """
    path = name_beside(file)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        error.filename = str(file)  # nobody knows the other name
        raise
    return path, os.fdopen(descriptor, "r+b")


def continue_beside(file: Path) -> tuple[Path, io.BufferedRandom]:
    """Open what an earlier process has left of `file`, or do as `create_beside`.

    Of what others can have put there, nothing is opened to write: no link, and no file of another user or with a second
    name.
    """
    for path in _find_beside(file):
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue
        facts = os.fstat(descriptor)
        if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid() and facts.st_nlink == 1:
            return path, os.fdopen(descriptor, "r+b")
        os.close(descriptor)
    return create_beside(file)


def remove_beside(file: Path) -> None:
    """Remove what processes that were killed have left of `file`; what a link leads to stays."""
    for path in _find_beside(file):
        path.unlink(missing_ok=True)


def _find_beside(file: Path) -> list[Path]:
    """Return files and links with a name of `name_beside`, whoever made them."""
    name = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{{2 * RANDOM_BYTES}}}\.part")
    with os.scandir(file.parent) as entries:
        found = [entry for entry in entries if name.fullmatch(entry.name)]
    return sorted(Path(entry) for entry in found if entry.is_symlink() or entry.is_file(follow_symlinks=False))


def atomic_write(
    file: Path, content: str | bytes, errors: Literal["strict", "replace"] = "strict", new: bool = False
) -> None:
    """Write bytes, or text as UTF-8, line ends as they are; what was there before stays until all of it is written.

    Args:
        file: to write.
        content: all of it.
        errors: what to do about what UTF-8 cannot hold, such as half a character of a strange path.
        new: the file never takes the place of another.

    Raises:
        FileExistsError: it is to be new, and something is there.
    """
    with open_atomic(file, errors, new) as stream:
        if isinstance(content, bytes):
            stream.buffer.write(content)
        else:
            stream.write(content)


@contextmanager
def open_atomic(file: Path, errors: Literal["strict", "replace"] = "strict", new: bool = False) -> Iterator[TextIO]:
    """Yield a stream to write `file` to, bit by bit; as `atomic_write`, and after an exception nothing of it stays."""
    unfinished, binary = create_beside(file)
    try:
        with io.TextIOWrapper(binary, encoding="utf-8", errors=errors, newline="") as stream:
            yield stream
        if new:
            _name(unfinished, file)
        else:
            unfinished.replace(file)
    except OSError as error:
        if error.filename == str(unfinished):  # which nobody knows
            error.filename = str(file)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def _name(unfinished: Path, file: Path) -> None:
    """Rename a whole file at once, or raise FileExistsError."""
    try:
        file.hardlink_to(unfinished)
    except FileExistsError:
        raise
    except OSError:  # not every disk can link
        file.open("x").close()  # the name is ours, or an exception
        unfinished.replace(file)


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to; what is there at the end becomes `file`, and after an exception nothing of it stays.

    Raises:
        FileExistsError: something is at `file` by then.
    """
    with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        yield unfinished
        _name(unfinished, file)
