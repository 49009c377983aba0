"""The folder of a run or a sweep: made, removed if it stays empty, locked, and moved."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from lab_engine.base.errors import UserError

Config = dict[str, Any]

LOCK = ".lock"  # stays: if it were removed and made again, two processes could each lock a file
DATA_LOCK = ".data.lock"  # held while a process of the run prepares the data, one after the other
LEFT_BY_HYDRA = (".jobs.lock", "multirun.yaml", "sweep.log")
"""Files of a sweep in which no job has started."""


class RunFolder:
    """A folder that this command is about to use.

    Args:
        path: of the folder; missing folders are made.
        key: of the configuration, which sets the path.

    Raises:
        UserError: the folder cannot be made.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path.absolute()
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._before = names(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.remove_if_unused()
            raise UserError(
                f"{key}={path} cannot be made: {error.strerror}. Choose another folder with {key}=DIR."
            ) from error

    def __enter__(self) -> Self:
        """Return this folder."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Remove the folder if the command has failed before it wrote anything."""
        if kind is not None:
            self.remove_if_unused()

    def remove_if_unused(self) -> None:
        """Remove the folders that this command has made, unless files have been written to them."""
        if (new := names(self.path) - self._before) <= {*LEFT_BY_HYDRA}:
            for name in new:
                (self.path / name).unlink()
        with suppress(OSError):  # another command may already use it
            for folder in self._made:
                if folder.exists():
                    folder.rmdir()


def names(folder: Path) -> set[str]:
    """Return the names of the files in a folder; none if there is no folder."""
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


def lock(folder: Path) -> FileLock:
    """Return the lock that a process holds while it works in `folder`; the system frees it if the process dies."""
    return FileLock(folder / LOCK)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Keep the `lock` of a folder.

    Raises:
        UserError: another process holds it.
    """
    held = lock(folder)
    try:
        held.acquire(blocking=False)
    except Timeout as error:
        raise UserError(
            f"{folder} is in use by another process, and two runs never share a folder.\n"
            "Wait until that process has ended, or stop it, and try again."
        ) from error
    try:
        yield
    finally:
        held.release()


def in_folder(config: Config, folder: Path) -> Config:
    """Copy the configuration of a run for another folder: all paths in the old folder become paths in the new one."""
    return replace(config, config["folder"], str(folder))  # type: ignore[no-any-return]


def replace(node: Any, old: str, new: str) -> Any:
    """Copy plain data, with the path of a folder replaced in all strings that are it or begin with it."""
    if isinstance(node, dict):
        return {key: replace(value, old, new) for key, value in node.items()}
    if isinstance(node, list):
        return [replace(value, old, new) for value in node]
    if isinstance(node, str) and (node == old or node.startswith(f"{old}/")):
        return new + node[len(old) :]
    return node
