import logging
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lab_engine.images.image_set import ImageSet
from lenet_lab.data import resident
from lenet_lab.data.augment import RandomShift
from lenet_lab.data.datamodule import ImageDataModule
from tests.lenet_lab.tasks.test_classification import digits


def attached(**options: Any) -> ImageDataModule:
    """Attached to a Trainer as in a run."""
    data = digits(batch_size=200, augment={"shift": RandomShift(2)}, **options)
    data.setup()
    data.trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=False)
    return data


def batches(data: ImageDataModule) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    return [
        batch for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()) for batch in loader
    ]


def test_batches_from_the_device_are_those_from_the_store() -> None:
    kept, stored = attached(on_device=True), attached()
    assert kept.train_dataloader().resident is not None
    pairs = list(zip(batches(kept), batches(stored), strict=True))
    assert len(pairs) > 10
    for (images, labels), (expected_images, expected_labels) in pairs:
        assert torch.equal(images, expected_images)
        assert torch.equal(labels, expected_labels)


def test_training_and_validation_share_one_copy() -> None:
    data = attached(on_device=True)
    assert data.train_dataloader().resident is data.val_dataloader().resident is data.train_dataloader().resident


def test_images_that_do_not_fit_stay_where_they_are(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(resident, "free_bytes", lambda device: 2_000_000)
    monkeypatch.setattr(logging.getLogger("lenet_lab"), "propagate", True)
    data = attached(on_device=True)
    images, labels = next(iter(data.train_dataloader()))
    assert (len(images), images.dtype, len(labels)) == (200, torch.float32, 200)
    assert caplog.messages[-1].endswith("0.0 GB are free on cpu. They stay on the host.")


@pytest.mark.parametrize(("free", "kept"), [(2 * 1000 * (3072 + 8), True), (2 * 1000 * (3072 + 8) - 2, False)])
def test_half_of_what_is_free_may_be_taken_on_the_device_that_computes(
    free: int, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resident, "free_bytes", lambda device: free)
    images = ImageSet(np.zeros((1000, 3, 32, 32), np.uint8), np.zeros(1000, np.int64), ("a", "b"))
    copy = resident.make_resident(images, torch.device("meta"))
    assert (copy is not None) == kept
    if copy is not None:
        assert (copy.images.device.type, copy.labels.device.type) == ("meta", "meta")
