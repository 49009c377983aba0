"""Any folder of images that are sorted into one folder per class."""

import hashlib
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, encodable, printable, shown
from lab_engine.images.decode import ImageFormat, decode_files, rows_to_skip
from lab_engine.images.files import is_ignored, is_of_another_kind, refuse_missing, walk
from lab_engine.images.image_set import ImageSet
from lab_engine.images.store import StoreWriter, open_store
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.data.split import stratified_split

SPLIT_NAMES = {"train", "training", "test", "testing", "val", "valid", "validation"}
"""Folder names that mean a split and not a class."""

SETS = 3  # into which one tree is split: train, validation and test


@dataclass(frozen=True)
class _Files:
    """Images of one split, sorted by class and path; a change to a file changes its stamp. `others` were left out."""

    paths: list[str]
    labels: npt.NDArray[np.int64]
    stamps: list[str]
    others: int = 0

    def take(self, rows: npt.NDArray[np.int64]) -> "_Files":
        return _Files([self.paths[row] for row in rows], self.labels[rows], [self.stamps[row] for row in rows])


class ImageFolder(ImageDataModule):
    r"""`train/<class>/*`, `test/<class>/*` and perhaps `val/<class>/*`; or `<class>/*`, from which a test set is split.

    Files may lie in subfolders of their class; `lab_engine.images.files` tells which names are ignored, and which are
    counted as files of another kind. The classes are the names of the folders, sorted, in Unicode's composed form
    (macOS writes `é` as two characters); bytes in a name that are not UTF-8 are written as in `caf\xe9`.

    Args:
        root: folder that holds the tree.
        cache: folder for the decoded images.
        channels: 1 (grey) or 3 (RGB).
        image_size: (height, width) in pixels.
        resize: "stretch", "crop" or "pad"; see `lab_engine.images.decode.RESIZE`.
        on_bad_file: "error" or "skip", for an image that cannot be decoded.
        test_fraction: of each class, above 0 and below 1; only for one tree.
        test_seed: which images become the test set; only for one tree.
        loading: see `ImageDataModule`.
    """

    def __init__(
        self,
        root: str | Path,
        cache: str | Path,
        *,
        channels: int,
        image_size: tuple[int, int],
        resize: str,
        on_bad_file: str,
        test_fraction: float,
        test_seed: int,
        **loading: Any,
    ) -> None:
        super().__init__(**loading)
        self.root = Path(root)
        self.cache = Path(cache)
        self.format = ImageFormat(channels, *image_size, resize)
        self.on_bad_file = on_bad_file
        self.test_fraction = test_fraction
        self.test_seed = test_seed

    def load(self) -> tuple[ImageSet, ImageSet] | tuple[ImageSet, ImageSet, ImageSet]:
        """Return train and test images, and those of `val` where it is there; new and changed folders are decoded."""
        refuse_missing(self.root)
        parts = {entry.name for entry in os.scandir(self.root) if entry.is_dir() and entry.name.lower() in SPLIT_NAMES}
        if parts and not {"train", "test"} <= parts <= {"train", "test", "val"}:
            raise UserError(
                f"{printable(str(self.root))} holds {', '.join(sorted(parts))}: "
                "these look like parts of a data set, not classes.\n"
                "Name them `train`, `test` and, where there are validation images, `val`."
            )
        if parts:
            split = [part for part in ("train", "test", "val") if part in parts]
            folders = {part: _class_folders(self.root / part) for part in split}
            classes = list(folders["train"])
            for part in split:
                if classes != list(folders[part]):
                    odd = shown(", ".join(sorted(folders["train"].keys() ^ folders[part].keys())))
                    root = printable(str(self.root))
                    raise UserError(
                        f"{root}: train/ and {part}/ must hold the same classes; only in one of them: {odd}."
                    )
            listed = [_list_files(self.root / part, list(folders[part].values())) for part in split]
            self.others = sum(each.others for each in listed)
        else:
            found = _class_folders(self.root)
            classes = list(found)
            everything = _list_files(self.root, list(found.values()))
            self.others = everything.others
            counts = np.bincount(everything.labels)
            if counts.min() < SETS:
                few, count = classes[counts.argmin()], counted(int(counts.min()), "image")
                raise UserError(
                    f"Class {few!r} has {count}, and each class is split into train, validation and test images.\n"
                    "Add images until it has three, or remove the class."
                )
            rows = stratified_split(everything.labels, self.test_fraction, self.test_seed, classes)
            listed = [everything.take(part) for part in rows]
        names = tuple(map(encodable, classes))
        train, test, *validation = (self._open(files, names) for files in listed)
        return (train, test, validation[0]) if validation else (train, test)

    def model_arguments(self) -> dict[str, Any]:
        """Return the facts of an `ImageDataModule`, and how images of another size are resized."""
        return {**super().model_arguments(), "resize": self.format.resize}

    def _open(self, files: _Files, classes: tuple[str, ...]) -> ImageSet:
        description = "\n".join([repr(self.format), self.on_bad_file, *classes, *files.stamps])
        key = hashlib.sha256(description.encode("utf-8", "surrogateescape")).hexdigest()[:32]

        def make(store: StoreWriter) -> None:
            target = store.create(len(files.paths), self.format.shape)
            bad = rows_to_skip(decode_files(files.paths, target, self.format), files.paths, self.on_bad_file)
            self._refuse_changed(files)
            rows = np.setdiff1d(np.arange(len(files.paths)), bad)
            lost = [name for label, name in enumerate(classes) if not np.any(files.labels[rows] == label)]
            if lost:
                root = printable(str(self.root))
                raise UserError(f"{root}: no file of class {lost[0]!r} can be decoded. Replace its files.")
            if bad:
                store.keep(rows)
            store.finish(files.labels[rows], classes, skipped=len(bad))

        return open_store(self.cache, f"folder-{key}", make)

    def _refuse_changed(self, files: _Files) -> None:
        """Refuse files that changed while they were decoded: the store would keep the wrong images."""
        for path, stamp in zip(files.paths, files.stamps, strict=True):
            try:
                now = _stamp(os.stat(path))  # noqa: PTH116 - for each of all files, and Path is slower
            except OSError:
                now = "gone"
            if stamp.rpartition("\t")[2] != now:
                raise UserError(
                    f"{path} has changed while the images were decoded.\nRun again when nothing writes to {self.root}."
                )


def _class_folders(folder: Path) -> dict[str, str]:
    """Return the names of the class folders by class, sorted by class."""
    found: dict[str, str] = {}
    for name in sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not is_ignored(entry.name)):
        if (composed := unicodedata.normalize("NFC", name)) in found:
            raise UserError(
                f"{printable(str(folder))} holds two folders {composed!r}: Unicode can write an accented letter as one "
                "character or as two.\nMove the files of one folder into the other."
            )
        found[composed] = name
    if len(found) < 2:
        raise UserError(
            f"{printable(str(folder))} holds {counted(len(found), 'class folder')}: at least two are needed.\n"
            "Put the images of each class into a folder with the name of the class."
        )
    return dict(sorted(found.items()))


def _list_files(folder: Path, classes: Sequence[str]) -> _Files:
    paths: list[str] = []
    labels: list[int] = []
    stamps: list[str] = []
    others = 0
    prefix = len(str(folder))
    for label, name in enumerate(classes):
        everything = list(walk(str(folder / name)))
        found = sorted((path, _stamp(facts)) for path, facts in everything if not is_of_another_kind(path))
        others += len(everything) - len(found)
        if not found:
            raise UserError(f"{printable(str(folder / name))} holds no images: put some into it, or remove the folder.")
        paths += [path for path, _ in found]
        labels += [label] * len(found)
        stamps += [f"{path[prefix:]}\t{stamp}" for path, stamp in found]
    return _Files(paths, np.array(labels, dtype=np.int64), stamps, others)


def _stamp(facts: os.stat_result) -> str:
    # ctime also shows changes after which the modification time (mtime) was set back
    return f"{facts.st_size} {facts.st_mtime_ns} {facts.st_ctime_ns}"
