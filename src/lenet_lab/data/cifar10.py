"""CIFAR-10: 50,000 photographs to train on and 10,000 to test on, 3x32x32, of ten classes."""

import pickle
import tarfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

import numpy as np
import numpy.typing as npt

from lenet_lab.data.download import download
from lenet_lab.data.image_set import ImageSet
from lenet_lab.data.store import StoreWriter, open_store
from lenet_lab.errors import UserError

ARCHIVE = "cifar-10-python.tar.gz"
CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)  # of one image
MOST_BYTES = 1 << 26  # of a batch; the official ones have 31 MB, and a small archive can unpack to any number
TRAIN_BATCHES = tuple(f"cifar-10-batches-py/data_batch_{number}" for number in range(1, 6))
TEST_BATCHES = ("cifar-10-batches-py/test_batch",)
RIGHT_ARCHIVE = "Use the official archive in Python format, with its MD5 as data.md5."
CURE = "data.mirrors=[https://…] names other addresses; data=digits trains without any download."

Batch = tuple[npt.NDArray[np.uint8], list[int]]  # images (N, 3, 32, 32), labels


class Cifar10:
    """The official split, from the archive in Python format (170 MB); 184 MB once decoded.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).

    Args:
        root: folder of `cifar-10-python.tar.gz`, which is downloaded if it is not there.
        cache: folder for the decoded images; once they are there, the archive is not needed.
        mirrors: addresses of the archive, tried in this order.
        md5: of the archive, 32 hexadecimal digits.
    """

    def __init__(self, root: str | Path, cache: str | Path, mirrors: Sequence[str], md5: str) -> None:
        self.archive = Path(root) / ARCHIVE
        self.cache = Path(cache)
        self.mirrors = mirrors
        self.md5 = md5

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Give the train and the test images, downloaded and decoded now if that was not done before."""
        return self._open("train", TRAIN_BATCHES), self._open("test", TEST_BATCHES)

    def _open(self, split: str, names: Sequence[str]) -> ImageSet:
        def make(store: StoreWriter) -> None:
            download(self.archive, urls=self.mirrors, md5=self.md5, cure=CURE)
            _decode(self.archive, names, store)

        return open_store(self.cache, f"cifar10-{self.md5[:16]}-{split}", make)


def _decode(archive: Path, names: Sequence[str], store: StoreWriter) -> None:
    batches = _read_batches(archive, names)
    labels = np.array([label for name in names for label in batches[name][1]], dtype=np.int64)
    target = np.load(store.create(len(labels), SHAPE), mmap_mode="r+")
    np.concatenate([batches[name][0] for name in names], out=target)
    target.flush()
    store.finish(labels, CLASSES)


def _read_batches(archive: Path, names: Sequence[str]) -> dict[str, Batch]:
    """Read these members in one pass: they come in no order, and going back would mean unpacking again."""
    batches: dict[str, Batch] = {}
    try:
        with tarfile.open(archive, "r|gz") as members:
            for member in members:
                if member.name in names and member.isfile() and (file := members.extractfile(member)):
                    if member.size > MOST_BYTES:
                        raise UserError(f"{archive}: {member.name} has more than {MOST_BYTES} bytes.\n{RIGHT_ARCHIVE}")
                    batches[member.name] = _read_batch(file, f"{archive}: {member.name}")
                    if len(batches) == len(names):
                        return batches
    except (tarfile.TarError, zlib.error, EOFError, OSError) as error:
        raise UserError(f"{archive} cannot be read: {error}.\nMove it away and run again to download it.") from error
    missing = next(name for name in names if name not in batches)
    raise UserError(f"{archive} holds no {missing}.\n{RIGHT_ARCHIVE}")


def _read_batch(file: IO[bytes], where: str) -> Batch:
    try:
        content = _BatchUnpickler(file, encoding="bytes").load()
    except Exception as error:  # a broken or hostile pickle can raise anything
        why = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{where} cannot be read: {why}.\n{RIGHT_ARCHIVE}") from error
    match content:
        case {
            b"data": _Kept(
                state=(_, (int(rows), 3072), _Kept(args=(b"u1" | "u1", *_)), bool(column_major), bytes(raw))
            ),
            b"labels": list(labels),
        } if len(raw) == rows * 3072 and len(labels) == rows > 0 and all(map(_is_label, labels)):
            pixels = np.frombuffer(raw, np.uint8).reshape(rows, 3072, order="F" if column_major else "C")
            return pixels.reshape(rows, *SHAPE), labels
    raise UserError(f"{where} must hold uint8 data (N, 3072) and N labels from 0 to 9.\n{RIGHT_ARCHIVE}")


def _is_label(value: object) -> bool:
    return type(value) is int and 0 <= value < len(CLASSES)


class _Kept:
    """Stands in for the NumPy objects of a batch: keeps what the pickle says about them and runs nothing.

    NumPy's own unpickling is not made for bytes from outside, and NumPy 2.4.0 to 2.4.4 warn about old arrays.
    """

    args: tuple[object, ...] = ()
    state: object = None

    def __init__(self, *args: object) -> None:
        self.args = args

    def __setstate__(self, state: object) -> None:
        self.state = state


class _BatchUnpickler(pickle.Unpickler):
    """Reads plain values; of functions and classes it knows only the names that arrays are saved with."""

    NAMES: Final = {
        ("numpy.core.multiarray", "_reconstruct"): _Kept,
        ("numpy._core.multiarray", "_reconstruct"): _Kept,  # the same, saved with NumPy 2
        ("numpy", "ndarray"): _Kept,
        ("numpy", "dtype"): _Kept,
    }

    def find_class(self, module: str, name: str) -> type[_Kept]:
        """Replace the lookup that would import and give whatever the file names."""
        if (module, name) not in self.NAMES:
            raise pickle.UnpicklingError(f"it names {module + '.' + name!r}, which has no place in images")
        return self.NAMES[module, name]
