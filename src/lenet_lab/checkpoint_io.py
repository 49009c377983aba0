"""How checkpoints reach the disk: whole, or not at all."""

import os
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import TorchCheckpointIO


class WholeCheckpointIO(TorchCheckpointIO):
    """Writes beside the old file and then takes its place, so that a run that is killed leaves one of the two.

    Lightning's own way writes to the system's temporary folder first, and a move from there to another disk can be
    cut off half way.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Save, as Lightning asks for it."""
        write_checkpoint(checkpoint, Path(path))


def write_checkpoint(checkpoint: dict[str, Any], path: Path) -> None:
    """Write tensors and plain data; what was at `path` stays until the new file is on the disk."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.part")
    try:
        with unfinished.open("wb") as stream:
            torch.save(checkpoint, stream)
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)  # of a full disk
