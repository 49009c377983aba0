"""The folder of a run or a sweep: made and taken back, held by who works in it, and followed where it is moved."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from lab_engine.base.errors import UserError

Config = dict[str, Any]

LOCK = ".lock"  # the file that is locked; it stays, for a file that comes and goes can be locked by two
DATA_LOCK = ".data.lock"  # while the processes of a run prepare its data, one by one
LEFT_BY_HYDRA = (".jobs.lock", "multirun.yaml", "sweep.log")
"""Files of a sweep that no job belongs to."""


class RunFolder:
    """A folder that this command is about to use.

    Args:
        path: of the folder.
        key: by which the user chooses it.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path.absolute()
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._before = names(self.path)
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.take_back()
            raise UserError(
                f"{key}={path} cannot be made: {error.strerror}. Choose another folder with {key}=DIR."
            ) from error

    def __enter__(self) -> Self:
        """Begin to use it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        """Remove it where the command has failed before anything was in it."""
        if kind is not None:
            self.take_back()

    def take_back(self) -> None:
        """Remove what this command has made, unless there is something in it by now."""
        if (new := names(self.path) - self._before) <= {*LEFT_BY_HYDRA}:
            for name in new:
                (self.path / name).unlink()
        with suppress(OSError):  # another command may have begun to use it
            for folder in self._made:
                if folder.exists():
                    folder.rmdir()


def names(folder: Path) -> set[str]:
    """Return the names in a folder; nothing where there is none."""
    return {file.name for file in folder.iterdir()} if folder.is_dir() else set()


def lock(folder: Path) -> FileLock:
    """Return the lock that a process holds while it works on the run in `folder`; the system frees it when it dies."""
    return FileLock(folder / LOCK)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Acquire that lock.

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
