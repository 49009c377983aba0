"""How small files reach the disk: whole, or not at all, whoever else writes them."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
    unfinished = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        with unfinished.open("w", encoding="utf-8", errors=errors, newline="") as stream:
            yield stream
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
