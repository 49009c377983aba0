"""A fingerprint of images: runs with the same fingerprint used the same pixels, labels and class names."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from lab_engine.base.atomic_write import atomic_write
from lab_engine.images.image_set import ImageSet

FILE = "fingerprint.json"  # in the folder of a store, so that later runs need not read all images
ROWS = 4096  # images that are read at once


def fingerprint(parts: Sequence[ImageSet]) -> str:
    """Return the SHA-256 of all images, labels and class names, in order, as 64 hexadecimal digits; "" of no parts."""
    return hashlib.sha256("".join(map(_of_part, parts)).encode()).hexdigest() if parts else ""


def _of_part(images: ImageSet) -> str:
    if images.store is None:
        return _digest(images)
    file, files = images.store / FILE, _files(images.store)
    with suppress(OSError, ValueError, KeyError, TypeError):
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["files"] == files and len(known["sha256"]) == 64:
            return str(known["sha256"])
    digest = _digest(images)
    with suppress(OSError):  # the store may be another user's
        atomic_write(file, json.dumps({"sha256": digest, "files": files}) + "\n")
    return digest


def _files(store: Path) -> list[list[Any]]:
    """Return name, size and time of the store's files, which show whether the store has changed."""
    facts = [(name, (store / name).stat()) for name in ("images.npy", "labels.npy", "facts.json")]
    return [[name, fact.st_size, fact.st_mtime_ns] for name, fact in facts]


def _digest(images: ImageSet) -> str:
    """Hash the shape first: the same bytes could be images of another shape."""
    found = hashlib.sha256(json.dumps([images.images.shape, images.classes]).encode())
    for start in range(0, len(images), ROWS):
        found.update(images.images[start : start + ROWS].tobytes())
    found.update(images.labels.astype("<i8").tobytes())
    return found.hexdigest()
