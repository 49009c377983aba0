"""What a checkpoint claims about itself, held against the file: a stranger's could ask for any amount of memory."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MAX_VALUES = 100_000  # beside weights; in a pickle a part can stand in many places, and is met in each


def refuse_packed(path: Path) -> None:
    """Refuse a file that would take more memory than it has bytes: `torch.save` packs nothing.

    Raises:
        zipfile.BadZipFile: it does, or it is none of those that `torch.save` writes today.
    """
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
    if sum(part.file_size for part in parts) > path.stat().st_size or any(part.compress_type for part in parts):
        raise zipfile.BadZipFile("it is packed")


def refuse_claims(checkpoint: Mapping[str, Any]) -> None:
    """Refuse tensors that claim more values than are kept of them.

    Raises:
        ValueError: there are some.
    """
    for weights in checkpoint["state_dict"].values():
        if isinstance(weights, torch.Tensor) and weights.nbytes > weights.untyped_storage().nbytes():
            raise ValueError("a tensor claims more values than the file holds")
