"""A folder of decoded images, which every later run memory-maps."""

import errno
import json
import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from lab_engine.base.errors import UserError
from lab_engine.images.image_set import ImageSet

FORMAT = 1  # raise it when the files change, so that old stores are decoded again


class StoreWriter:
    """Writes the images of a new store.

    Args:
        folder: of the store; it has a temporary name until it is complete.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def scratch(self) -> tempfile.TemporaryDirectory[str]:
        """Make a temporary folder for use while the images are decoded."""
        return tempfile.TemporaryDirectory(dir=self._folder)

    def create(self, count: int, image_shape: tuple[int, int, int]) -> Path:
        """Create the .npy file to fill with `count` images, uint8 (count, C, H, W), and return its path."""
        path = self._folder / "images.npy"
        np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=(count, *image_shape)).flush()
        if hasattr(os, "posix_fallocate"):  # on a full disk this raises an error, but writing a mapped page would crash
            with path.open("r+b") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
                except OSError as error:
                    if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # not every file system supports it
                        raise
        return path

    def keep(self, rows: npt.NDArray[np.int64]) -> None:
        """Keep only the images of `rows`, in this order."""
        source = np.load(self._folder / "images.npy", mmap_mode="r")
        self._folder.joinpath("images.npy").rename(self._folder / "all.npy")
        target = np.load(self.create(len(rows), source.shape[1:]), mmap_mode="r+")
        for start in range(0, len(rows), 4096):
            target[start : start + 4096] = source[rows[start : start + 4096]]
        target.flush()
        self._folder.joinpath("all.npy").unlink()

    def finish(self, labels: npt.NDArray[np.int64], classes: tuple[str, ...], skipped: int = 0) -> None:
        """Write labels, one for each image, and class names."""
        np.save(self._folder / "labels.npy", labels.astype(np.int64))
        (self._folder / "facts.json").write_text(json.dumps({"classes": classes, "skipped": skipped}), encoding="utf-8")


GUARD = 'Processes that a script starts import the script: put its code below `if __name__ == "__main__":`'


def open_store(cache: Path, key: str, make: Callable[[StoreWriter], None]) -> ImageSet:
    """Memory-map the store `key` in `cache`; call `make` to fill it if it does not exist yet.

    The store gets its name when it is complete, and a file lock lets one process make it while others wait. The mapping
    is read-only and shared: all processes of a machine use the same memory.

    Args:
        cache: folder of all stores.
        key: name of the store, which depends on everything that the images are made from.
        make: fills the store.

    Raises:
        UserError: `cache` cannot be written or has no room, or the store in it is damaged.
    """
    folder = cache / f"{key}-v{FORMAT}"
    if getattr(multiprocessing.current_process(), "_inheriting", False) and not folder.is_dir():
        # A script without the guard is imported again by a process that its first import has started and waits for.
        raise RuntimeError(GUARD)
    try:
        if not folder.is_dir():
            cache.mkdir(parents=True, exist_ok=True)
            with FileLock(cache / f"{key}.lock"):
                if not folder.is_dir():
                    _make(folder, make)
        return _read(folder)
    except OSError as error:
        room = "Free some space there, or name" if error.errno in (errno.ENOSPC, errno.EDQUOT) else "Name"
        raise UserError(
            f"The decoded images cannot be kept in {cache}: {error.strerror or error}{_owner(error)}.\n"
            f"{room} another folder with data.cache=DIR."
        ) from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError, EOFError, MemoryError) as error:
        raise UserError(f"The decoded images in {folder} are damaged. Remove this folder and run again.") from error


def _owner(error: OSError) -> str:
    """Return a sentence on the other user who owns a file or folder that may not be opened."""
    if not isinstance(error, PermissionError) or not error.filename:
        return ""
    path = Path(os.fsdecode(error.filename))
    try:
        there = next(each for each in (path, *path.parents) if os.path.lexists(each))
        return "" if there.stat().st_uid == os.geteuid() else f": {there} belongs to the user {there.owner()}"
    except (OSError, KeyError):  # it cannot be seen, or the user has no name
        return f": {path}"


def _read(folder: Path) -> ImageSet:
    """Memory-map a store; raise ValueError or a similar error if `StoreWriter` cannot have written it."""
    facts = json.loads((folder / "facts.json").read_text(encoding="utf-8"))
    images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
    labels = np.load(folder / "labels.npy", mmap_mode="r", allow_pickle=False)  # a header can claim any size
    classes, skipped = facts["classes"], facts["skipped"]
    named = type(classes) is list and all(type(name) is str for name in classes) and type(skipped) is int
    shaped = images.dtype == np.uint8 and images.ndim == 4 and images.shape[1] in (1, 3) and min(images.shape) > 0
    if not (named and shaped and labels.dtype == np.int64 and labels.shape == images.shape[:1]):
        raise ValueError("not arrays of images and labels")
    labels = np.array(labels)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError("labels without a class")
    return ImageSet(images, labels, tuple(classes), skipped, store=folder)


def _make(folder: Path, make: Callable[[StoreWriter], None]) -> None:
    prefix = f".{folder.name}-"
    for left_by_a_killed_process in folder.parent.glob(f"{prefix}*"):
        shutil.rmtree(left_by_a_killed_process, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))
    try:
        make(StoreWriter(unfinished))
        unfinished.chmod(0o755)
        unfinished.rename(folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
