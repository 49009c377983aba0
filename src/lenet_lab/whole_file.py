"""How small files reach the disk: whole, or not at all, whoever else writes them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TextIO


def write_whole(file: Path, text: str, errors: Literal["strict", "replace"] = "strict") -> None:
    """Write UTF-8 as it is, line ends too; what was there before stays until all of it is written.

    Args:
        file: to write.
        text: all of it.
        errors: what to do about what UTF-8 cannot hold, such as half a character of a strange path.
    """
    with whole(file, errors) as stream:
        stream.write(text)


@contextmanager
def whole(file: Path, errors: Literal["strict", "replace"] = "strict") -> Iterator[TextIO]:
    """Give a stream to write `file` to, bit by bit; as `write_whole`, and after an exception nothing of it stays."""
    unfinished = _beside(file)
    try:
        with unfinished.open("w", encoding="utf-8", errors=errors, newline="") as stream:
            yield stream
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)


def _beside(file: Path) -> Path:
    """Where this process writes what is to become `file`."""
    return file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")


def write_new(file: Path, text: str) -> None:
    """Do as `write_whole`, but never in place of another file.

    Raises:
        FileExistsError: something is there.
    """
    unfinished = _beside(file)
    try:
        write_whole(unfinished, text)
        _name(unfinished, file)
    except OSError as error:
        error.filename = error.filename and str(file)  # not a name that nobody knows
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def _name(unfinished: Path, file: Path) -> None:
    """Give a whole file its name at once, or raise FileExistsError."""
    try:
        file.hardlink_to(unfinished)
    except FileExistsError:
        raise
    except OSError:  # not every disk can link
        file.open("x").close()  # the name is ours, or an exception
        unfinished.replace(file)


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Give a path to write to; what is there at the end becomes `file`, and after an exception nothing of it stays.

    Raises:
        FileExistsError: something is at `file` by then.
    """
    with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        yield unfinished
        _name(unfinished, file)
