"""Checks that a checkpoint needs no more memory than its file has bytes, because it may be a stranger's."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

MAX_VALUES = 100_000  # besides weights; in a pickle one part can be in many places, and each is counted


def refuse_compressed(path: Path) -> None:
    """Refuse a file that would take more memory than it has bytes: `torch.save` does not compress.

    Raises:
        zipfile.BadZipFile: the file is compressed, or no zip file such as `torch.save` writes.
    """
    with zipfile.ZipFile(path) as file:
        parts = file.infolist()
    if sum(part.file_size for part in parts) > path.stat().st_size or any(part.compress_type for part in parts):
        raise zipfile.BadZipFile("it is compressed")


def refuse_expanded(checkpoint: Mapping[str, Any]) -> None:
    """Refuse tensors that have more values than their storage holds.

    Raises:
        ValueError: there is one.
    """
    for weights in checkpoint["state_dict"].values():
        if isinstance(weights, torch.Tensor) and weights.nbytes > weights.untyped_storage().nbytes():
            raise ValueError("a tensor claims more values than the file holds")
