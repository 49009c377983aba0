"""The folder of a run: who works in it, and how its configuration follows when it is moved or copied."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from lenet_lab.errors import UserError

Config = dict[str, Any]

LOCK = ".lock"  # the file that is locked; it stays, for a file that comes and goes can be locked by two


def lock(folder: Path) -> FileLock:
    """Give the lock that a process holds while it works on the run in `folder`; the system frees it when it dies."""
    return FileLock(folder / LOCK)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold that lock.

    Raises:
        UserError: another process holds it.
    """
    held = lock(folder)
    try:
        held.acquire(blocking=False)
    except Timeout as error:
        raise UserError(
            f"{folder} is being worked on by another process, and two runs never share a folder.\n"
            "Wait until it has ended, or stop it and call again."
        ) from error
    try:
        yield
    finally:
        held.release()


def in_folder(config: Config, folder: Path) -> Config:
    """Copy the configuration of a run for another folder: `folder`, and all paths that lead into the old one."""
    return replace(config, config["folder"], str(folder))  # type: ignore[no-any-return]


def replace(node: Any, old: str, new: str) -> Any:
    """Copy plain data with a folder's path in strings replaced."""
    if isinstance(node, dict):
        return {key: replace(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [replace(value, old, new) for value in node]
    if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
        return new + node[len(old) :]
    return node
