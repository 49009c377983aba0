"""What a checkpoint claims about itself, held against the file: a stranger's could ask for any amount of memory."""

import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import torch

MOST_VALUES = 100_000  # beside weights; in a pickle a part can stand in many places, and is met in each


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
    """Refuse tensors that claim more values than are kept of them, and paths that lead out of the run's folder.

    Lightning removes files that a checkpoint names, as soon as a better one comes: those below the folder only, but it
    follows `..` from there.

    Raises:
        ValueError: there are some.
    """
    for weights in checkpoint["state_dict"].values():
        if isinstance(weights, torch.Tensor) and weights.nbytes > weights.untyped_storage().nbytes():
            raise ValueError("a tensor claims more values than the file holds")
    for text in _texts(checkpoint.get("callbacks"), iter(range(MOST_VALUES))):
        if ".." in PurePath(text).parts:
            raise ValueError("it names a file outside its folder")


def _texts(value: Any, left: Iterator[int]) -> Iterator[str]:
    if next(left, None) is None:
        raise ValueError("it holds too many values")
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, part in value.items():
            yield from _texts(key, left)
            yield from _texts(part, left)
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _texts(part, left)
