"""Atomic writes: a file is either complete or unchanged, even if several processes write it."""

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

RANDOM_BYTES = 8  # in a temporary name: nobody can place a link under every name beforehand


def name_beside(file: Path) -> Path:
    """Return a random temporary path in the folder of `file`, at which nobody can have put a file or a link."""
    return file.with_name(f".{file.name}.{secrets.token_hex(RANDOM_BYTES)}.part")


def create_beside(file: Path) -> tuple[Path, io.BufferedRandom]:
    """Create an empty temporary file beside `file`, to be renamed to `file` once it is complete.

    Returns:
        Its path, and a stream to read and write it. The caller closes the stream, and renames or removes the file.
    """
    path = name_beside(file)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    except OSError as error:
        error.filename = str(file)  # the user does not know the temporary name
        raise
    return path, os.fdopen(descriptor, "r+b")


def continue_beside(file: Path) -> tuple[Path, io.BufferedRandom]:
    """Open the temporary file that an earlier process left of `file`, or create one as `create_beside` does.

    Somebody else may have put files there: no link is opened, and no file of another user or with a second hard link.
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
    """Remove the temporary files that killed processes left of `file`; of a link, only the link itself."""
    for path in _find_beside(file):
        path.unlink(missing_ok=True)


def _find_beside(file: Path) -> list[Path]:
    """Return files and links with names such as `name_beside` makes, whoever made them."""
    name = re.compile(rf"\.{re.escape(file.name)}\.[0-9a-f]{{{2 * RANDOM_BYTES}}}\.part")
    with os.scandir(file.parent) as entries:
        found = [entry for entry in entries if name.fullmatch(entry.name)]
    return sorted(Path(entry) for entry in found if entry.is_symlink() or entry.is_file(follow_symlinks=False))


def atomic_write(
    file: Path, content: str | bytes, errors: Literal["strict", "replace"] = "strict", new: bool = False
) -> None:
    """Write bytes, or text as UTF-8 with unchanged line ends; the old file stays until the new one is complete.

    Args:
        file: to write.
        content: of the file.
        errors: of the encoder, for text that UTF-8 cannot hold, such as the path of a file that is not UTF-8.
        new: never replace an existing file.

    Raises:
        FileExistsError: `new` is true and `file` exists.
    """
    with open_atomic(file, errors, new) as stream:
        if isinstance(content, bytes):
            stream.buffer.write(content)
        else:
            stream.write(content)


@contextmanager
def open_atomic(file: Path, errors: Literal["strict", "replace"] = "strict", new: bool = False) -> Iterator[TextIO]:
    """Yield a text stream whose content becomes `file`, as `atomic_write` does; an exception leaves nothing of it."""
    unfinished, binary = create_beside(file)
    try:
        with io.TextIOWrapper(binary, encoding="utf-8", errors=errors, newline="") as stream:
            yield stream
        if new:
            _rename_to_new(unfinished, file)
        else:
            unfinished.replace(file)
    except OSError as error:
        if error.filename == str(unfinished):  # a name that the user does not know
            error.filename = str(file)
        raise
    finally:
        unfinished.unlink(missing_ok=True)


def _rename_to_new(unfinished: Path, file: Path) -> None:
    """Rename a complete file in one step, or raise FileExistsError."""
    try:
        file.hardlink_to(unfinished)
    except FileExistsError:
        raise
    except OSError:  # not every disk can link
        file.open("x").close()  # reserves the name, or raises FileExistsError
        unfinished.replace(file)


@contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Yield a path to write to; the file written there becomes `file`, and an exception leaves nothing of it.

    Raises:
        FileExistsError: `file` exists at the end.
    """
    with TemporaryDirectory(prefix=f".{file.name}.", dir=file.parent) as folder:
        unfinished = Path(folder) / file.name
        yield unfinished
        _rename_to_new(unfinished, file)
