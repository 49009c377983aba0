import logging
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor

from lenet_lab.data import resident
from lenet_lab.data.augment import RandomShift
from lenet_lab.data.datamodule import ImageDataModule
from tests.test_classifier import digits


def attached(**options: Any) -> ImageDataModule:
    """Attached to a Trainer as in a run."""
    data = digits(batch_size=200, augment=[RandomShift(2)], **options)
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
    assert caplog.messages[-1].endswith("0.0 GB are free on cpu: they stay where they are.")
