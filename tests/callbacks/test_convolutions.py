"""Training steps by PyTorch's own convolutions, all else by oneDNN's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from lenet_lab.callbacks.convolutions import OwnConvolutions
from lenet_lab.classifier import Classifier
from lenet_lab.models.lenet import LeNet
from tests.test_classifier import SGD, digits, trainer


class Watch(Callback):
    def __init__(self) -> None:
        self.seen: list[tuple[str, bool]] = []

    def note(self, what: str) -> None:
        now = (what, torch.backends.mkldnn.enabled)
        if now not in self.seen[-1:]:
            self.seen.append(now)

    def on_train_batch_start(self, *rest: Any) -> None:
        self.note("train")

    def on_validation_batch_start(self, *rest: Any) -> None:
        self.note("val")

    def on_test_batch_start(self, *rest: Any) -> None:
        self.note("test")


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
def test_only_training_steps_do_without_onednn(tmp_path: Path) -> None:
    data, watch = digits(), Watch()
    classifier = Classifier(LeNet(1, (32, 32), 10), data.source.load()[0].classes, SGD)
    runs = trainer(tmp_path, callbacks=[OwnConvolutions(), watch], val_check_interval=0.5, limit_train_batches=4)
    runs.fit(classifier, datamodule=data)
    runs.test(classifier, datamodule=data, verbose=False)
    assert watch.seen == [("train", False), ("val", True)] * 4 + [("test", True)]
    assert torch.backends.mkldnn.enabled
