"""CIFAR-10: 50,000 photographs to train on and 10,000 to test on, 3x32x32, of ten classes."""

import gzip
import tarfile
import warnings
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torchvision.datasets import CIFAR10

from lab_engine.base.errors import UserError
from lab_engine.images.download import download
from lab_engine.images.image_set import ImageSet
from lab_engine.images.store import StoreWriter, open_store
from lenet_lab.data.datamodule import ImageDataModule

ARCHIVE = "cifar-10-python.tar.gz"
CLASSES = ("plane", "car", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CURE = "data.mirrors=[https://…] names other addresses; data=digits trains without any download."


class Cifar10(ImageDataModule):
    """The official split, from the archive in Python format (170 MB); 184 MB once decoded.

    Source: A. Krizhevsky, "Learning Multiple Layers of Features from Tiny Images" (2009).

    Attributes:
        reader: torchvision's class, which knows the MD5 of the archive and of each file in it. The files are pickles,
            which could run any code, so no other bytes are read. Not an argument, because a configuration from a
            stranger must not choose what is unpickled.

    Args:
        root: folder of `cifar-10-python.tar.gz`, which is downloaded if it is missing.
        cache: folder for the decoded images; once they are there, the archive is not needed.
        mirrors: addresses of the archive, tried in this order.
        loading: see `ImageDataModule`.
    """

    reader = CIFAR10

    def __init__(self, root: str | Path, cache: str | Path, mirrors: Sequence[str], **loading: Any) -> None:
        super().__init__(**loading)
        self.archive = Path(root) / ARCHIVE
        self.cache = Path(cache)
        self.mirrors = mirrors

    def load(self) -> tuple[ImageSet, ImageSet]:
        """Return the train and the test images; download and decode them first if they are not in the cache."""
        return self._open("train"), self._open("test")

    @classmethod
    def key(cls, split: str) -> str:
        """Return the name of the store of a split, `train` or `test`."""
        return f"cifar10-{cls.reader.tgz_md5[:16]}-{split}"

    def _open(self, split: str) -> ImageSet:
        return open_store(self.cache, self.key(split), partial(self._decode, split))

    def _decode(self, split: str, store: StoreWriter) -> None:
        download(self.archive, urls=self.mirrors, md5=self.reader.tgz_md5, cure=CURE)
        with store.scratch() as folder:
            read = self._read(split, folder)
        images = read.data.transpose(0, 3, 1, 2)  # torchvision has (N, H, W, C)
        target = np.load(store.create(len(images), images.shape[1:]), mmap_mode="r+")
        target[:] = images
        target.flush()
        store.finish(np.array(read.targets), CLASSES)

    def _read(self, split: str, folder: str) -> CIFAR10:
        try:
            with tarfile.open(self.archive, "r:gz") as members:
                members.extraction_filter = getattr(tarfile, "data_filter", None)  # Python before 3.11.4 has none
                members.extractall(folder)  # noqa: S202 - its MD5 is that of the official one
            with warnings.catch_warnings():
                # NumPy 2.4.0 to 2.4.4 warns about dtypes in old pickles such as these
                warnings.filterwarnings("ignore", r"dtype\(\): align should", np.exceptions.VisibleDeprecationWarning)
                return self.reader(folder, split == "train")
        except (tarfile.TarError, gzip.BadGzipFile, zlib.error, EOFError, RuntimeError) as error:
            why = str(error).partition(". ")[0].rstrip(".")  # then torchvision suggests a cure of its own
            raise UserError(
                f"{self.archive} cannot be read: {why}.\nMove it away and run again to download it."
            ) from error
