"""Training steps by PyTorch's own convolutions, all else by oneDNN's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint

from lab_engine.training.callbacks.convolutions import NativeConvolutions
from lenet_lab.models.lenet import LeNet
from lenet_lab.tasks.classification import Classification
from tests.lenet_lab.tasks.test_classification import SGD, digits, trainer

pytestmark = pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="this torch has no oneDNN")
STEPS_AND_VALIDATIONS = [("train", False), ("val", True)]


@pytest.fixture(autouse=True)
def _on() -> Iterator[None]:
    """Leave oneDNN on for the tests that follow."""
    yield
    torch.backends.mkldnn.enabled = True


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


class Fails(Callback):
    def on_train_batch_end(self, *rest: Any) -> None:
        raise ZeroDivisionError


def run(folder: Path, *callbacks: Callback, ckpt_path: Path | None = None, **changes: Any) -> tuple[Trainer, Watch]:
    """Train on 4 batches an epoch."""
    watch = Watch()
    own = trainer(folder, callbacks=[NativeConvolutions(), watch, *callbacks], limit_train_batches=4, **changes)
    own.fit(Classification(LeNet(1, (32, 32), 10), tuple("0123456789"), SGD), datamodule=digits(), ckpt_path=ckpt_path)
    return own, watch


def test_only_training_steps_do_without_onednn(tmp_path: Path) -> None:
    own, watch = run(tmp_path, val_check_interval=0.5)
    for measure in (own.validate, own.test):
        measure(own.lightning_module, datamodule=digits(), verbose=False)
    assert watch.seen == [*STEPS_AND_VALIDATIONS * 4, ("test", True)]
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize("before", [True, False])
def test_it_leaves_onednn_as_it_was(tmp_path: Path, before: bool) -> None:
    torch.backends.mkldnn.enabled = before
    _, watch = run(tmp_path, max_epochs=1)
    assert watch.seen == [("train", False), ("val", before)]
    assert torch.backends.mkldnn.enabled is before
    with pytest.raises(ZeroDivisionError):
        run(tmp_path, Fails())
    assert torch.backends.mkldnn.enabled is before


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
def test_a_run_that_goes_on_in_an_epoch_does_so_without_onednn(tmp_path: Path) -> None:
    def keep() -> ModelCheckpoint:
        return ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=2, save_top_k=-1)

    run(tmp_path, keep(), enable_checkpointing=True)
    _, watch = run(tmp_path, keep(), ckpt_path=tmp_path / "step=2.ckpt", enable_checkpointing=True)
    assert watch.seen == STEPS_AND_VALIDATIONS * 2
