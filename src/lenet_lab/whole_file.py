"""How small files reach the disk: whole, or not at all, whoever else writes them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, TextIO


def write_whole(file: Path, text: str, errors: Literal["strict", "replace"] = "strict", new: bool = False) -> None:
    """Write UTF-8 as it is, line ends too; what was there before stays until all of it is written.

    Args:
        file: to write.
        text: all of it.
        errors: what to do about what UTF-8 cannot hold, such as half a character of a strange path.
        new: the file never takes the place of another.

    Raises:
        FileExistsError: it is to be new, and something is there.
    """
    with whole(file, errors, new) as stream:
        stream.write(text)


@contextmanager
def whole(file: Path, errors: Literal["strict", "replace"] = "strict", new: bool = False) -> Iterator[TextIO]:
    """Give a stream to write `file` to, bit by bit; as `write_whole`, and after an exception nothing of it stays."""
    unfinished = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", errors=errors, newline="") as stream:
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
