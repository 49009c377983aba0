"""What tells whether two runs were given the same images."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lab_engine.images import fingerprint as module
from lab_engine.images.fingerprint import FILE, fingerprint
from lab_engine.images.image_set import ImageSet
from lab_engine.images.store import StoreWriter, open_store
from lenet_lab.data.digits import Digits

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 3, 4, 5), dtype=np.uint8)
PART = ImageSet(IMAGES, np.arange(6) % 2, ("a", "b"))


def test_it_is_the_same_every_time_and_follows_each_pixel_label_class_and_part() -> None:
    other = IMAGES.copy()
    other[3, 2, 1, 0] ^= 1
    labels = PART.labels.copy()
    labels[5] = 0
    changed = [
        replace(PART, images=other),
        replace(PART, labels=labels),
        replace(PART, classes=("a", "c")),
        replace(PART, images=IMAGES.reshape(6, 3, 5, 4)),
    ]
    found = [fingerprint((part, PART)) for part in (PART, *changed)] + [fingerprint((PART, changed[0]))]
    assert len(set(found)) == 6
    assert fingerprint((PART, PART)) == found[0]
    assert fingerprint(Digits().load()) == fingerprint(Digits().load())
    assert fingerprint(()) == ""


def make(store: StoreWriter) -> None:
    np.load(store.create(6, (3, 4, 5)), mmap_mode="r+")[:] = IMAGES
    store.finish(PART.labels, PART.classes)


def test_of_a_store_it_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = open_store(tmp_path, "key", make)
    assert fingerprint((stored,)) == fingerprint((PART,))
    with monkeypatch.context() as patched:
        patched.setattr(module, "_digest", None)
        expected = fingerprint((open_store(tmp_path, "key", make),))
    assert expected == fingerprint((PART,))

    assert stored.store is not None
    for damaged in ("", "[]", "{}", json.dumps({"sha256": "0" * 64, "files": []})):
        (stored.store / FILE).write_text(damaged)
        assert fingerprint((stored,)) == expected
    changed = np.load(stored.store / "images.npy")
    changed[0] ^= 1
    np.save(stored.store / "images.npy", changed)
    assert fingerprint((open_store(tmp_path, "key", make),)) != expected
