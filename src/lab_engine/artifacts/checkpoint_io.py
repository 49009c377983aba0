"""Atomic writes of checkpoints."""

import logging
import os
import shutil
import stat
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO

from lab_engine.artifacts.checkpoint import KEY, previous
from lab_engine.base.atomic_write import create_beside, name_beside, remove_beside

log = logging.getLogger(__name__)

HYPER_PARAMETERS = ("hyper_parameters", "hparams_name", "hparams_type")
"""Ends of the keys that Lightning adds for modules that have called `save_hyperparameters`."""
KEEP_PREVIOUS = {"keep_previous": True}
"""Option of `Trainer.save_checkpoint`: see `write_checkpoint`."""


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes a new file beside the old one and then replaces it, so that a killed run leaves one of the two.

    Lightning writes to the system's temporary folder first, and a move from there to another disk is not atomic.

    Args:
        folder: of the run, outside which no checkpoint is removed.
        metadata: added to every checkpoint, see `lab_engine.artifacts.checkpoint.metadata_of`.
    """

    def __init__(self, folder: str | Path, metadata: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.folder = Path(folder)
        self._metadata = metadata

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint, a file or a folder, from the run folder; links are not followed.

        Lightning asks for whatever path its callbacks remember, with any scheme that fsspec knows.
        """
        given = Path(path).absolute()
        place = given.parent.resolve() / given.name
        if given.name == ".." or not place.parent.is_relative_to(self.folder.resolve()):
            log.warning("%s lies outside the run folder, and is not removed.", path)
            return
        kind = place.lstat().st_mode if os.path.lexists(place) else 0
        if stat.S_ISREG(kind):
            place.unlink()
        elif stat.S_ISDIR(kind):
            shutil.rmtree(place)

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save without the objects of `save_hyperparameters`, because `read_checkpoint` accepts plain data only."""
        kept = {key: value for key, value in checkpoint.items() if not key.endswith(HYPER_PARAMETERS)}
        if self._metadata is not None:
            kept[KEY] = self._metadata
        write_checkpoint(kept, Path(path), **(storage_options or {}))


def write_checkpoint(checkpoint: dict[str, Any], path: Path, keep_previous: bool = False) -> None:
    """Write tensors and plain data; an old file at `path` stays until the new one is on the disk.

    Args:
        checkpoint: what to write.
        path: of the file.
        keep_previous: keep the old file, as `lab_engine.artifacts.checkpoint.previous(path)`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_beside(path)
    unfinished, stream = create_beside(path)
    try:
        with stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
        if keep_previous and path.exists():
            _link(path, previous(path))
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)  # after an error, such as a full disk
    _sync(path.parent)


def _link(path: Path, other: Path) -> None:
    """Make a second name of a file, in place of another file if it exists; with hard links `path` never disappears."""
    remove_beside(other)
    link = name_beside(other)
    try:
        link.hardlink_to(path)
    except OSError:  # the disk does not support links
        path.replace(other)
    else:
        link.replace(other)
        link.unlink(missing_ok=True)  # replace does nothing if both names already belong to one file


def _sync(folder: Path) -> None:
    """Write the entries of a folder to the disk, if the system can."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
