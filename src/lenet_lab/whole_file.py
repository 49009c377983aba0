"""How small files reach the disk: whole, or not at all, whoever else writes them."""

import os
import socket
from pathlib import Path
from typing import Literal


def write_whole(file: Path, text: str, errors: Literal["strict", "replace"] = "strict") -> None:
    """Write UTF-8 as it is, line ends too; what was there before stays until all of it is written.

    Args:
        file: to write.
        text: all of it.
        errors: what to do about what UTF-8 cannot hold, such as half a character of a strange path.
    """
    unfinished = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")
    try:
        unfinished.write_text(text, encoding="utf-8", errors=errors, newline="")
        unfinished.replace(file)
    finally:
        unfinished.unlink(missing_ok=True)
