"""The Lightning module does exactly what a plain PyTorch loop does."""

import re
from functools import partial
from operator import mul
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Trainer, seed_everything

from lab_engine.base.errors import UserError
from lab_engine.config.schedule import Schedule
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.data.digits import Digits
from lenet_lab.models.lenet import LeNet
from lenet_lab.tasks.classification import Classification
from tests.conftest import ROUNDING

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)


def digits(**changes: Any) -> ImageDataModule:
    settings = {
        "batch_size": 64,
        "shuffle": True,
        "eval_batch_size": 100,
        "validation": 0.1,
        "split_seed": 0,
        "mean": 0.5,
        "std": 0.5,
        "seed": 3,
    }
    return Digits(**{**settings, **changes})


def trainer(folder: Path, **changes: Any) -> Trainer:
    settings: dict[str, Any] = {"max_epochs": 2, "accelerator": "cpu", "devices": 1, "log_every_n_steps": 5}
    return Trainer(
        **{**settings, "enable_checkpointing": False, **changes},
        default_root_dir=folder,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def test_weights_equal_those_of_a_plain_loop_bit_for_bit(tmp_path: Path) -> None:
    seed_everything(7, verbose=False)
    plain = LeNet(1, (32, 32), 10)
    lightning = LeNet(1, (32, 32), 10)
    lightning.load_state_dict(plain.state_dict())

    data = digits()
    classifier = Classification(lightning, data.load()[0].classes, SGD)
    trainer(tmp_path).fit(classifier, datamodule=data)

    data = digits()
    data.setup()
    optimizer = SGD(plain.parameters())
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.epoch = lambda epoch=epoch: epoch  # type: ignore[misc]
        for images, labels in loader:
            optimizer.zero_grad()
            F.cross_entropy(plain(data.normalize(images)), labels).backward()
            optimizer.step()

    ours, theirs = lightning.state_dict(), plain.state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_the_loss_is_a_mean_since_the_last_report_and_over_the_epoch(tmp_path: Path) -> None:
    losses: list[float] = []
    reports: list[float] = []

    class Recorded(Classification):
        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            loss = super().training_step(batch, batch_idx)
            losses.append(loss.item())
            return loss

        def on_train_batch_end(self, *_: Any) -> None:
            if "train/loss" in self.trainer.callback_metrics and len(losses) % 5 == 0:
                reports.append(float(self.trainer.callback_metrics["train/loss"]))

    classifier = Recorded(LeNet(1, (32, 32), 10), tuple("0123456789"), SGD)
    means = classifier.training_means
    for _ in range(2):  # of what the first training has not reported, the second knows nothing
        losses.clear()
        reports.clear()
        trainer(tmp_path, callbacks=[means]).fit(classifier, datamodule=digits())
        sizes = 2 * [*[64] * 20, 15]  # of 1,295 images

        def mean(start: int, end: int, sizes: list[int] = sizes) -> float:
            return sum(map(mul, losses[start:end], sizes[start:end])) / sum(sizes[start:end])

        expected = [mean(start, start + 5) for start in range(0, len(losses) - 4, 5)]
        assert reports == pytest.approx(expected, rel=ROUNDING)
        assert len(losses) % 5
        assert len(reports) == len(losses) // 5 > 5
        assert means.means["train/loss"] == pytest.approx(mean(21, 42), rel=ROUNDING)


def test_training_images_are_augmented_and_others_are_not(tmp_path: Path) -> None:
    class Black(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return torch.zeros_like(images)

    seen: dict[str, set[float]] = {"train": set(), "other": set()}

    class Watched(Classification):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return super().forward(images)

        def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
            seen["train"].add(batch[0].max().item())
            return super().training_step(batch, batch_idx)

        def _measure(self, batch: Any) -> torch.Tensor:
            seen["other"].add(batch[0].max().item())
            return super()._measure(batch)

    data = digits(augment={"black": Black()})
    run = trainer(tmp_path, max_epochs=1)
    classifier = Watched(LeNet(1, (32, 32), 10), tuple("0123456789"), SGD)
    run.fit(classifier, datamodule=data)
    run.test(classifier, datamodule=data, verbose=False)
    assert seen["train"] == {-1.0}
    assert min(seen["other"]) > 0.9


@pytest.mark.parametrize(("interval", "length"), [("step", 42), ("epoch", 2)])
def test_a_schedule_is_told_the_length_of_the_run(tmp_path: Path, interval: Any, length: int) -> None:
    told: list[int] = []

    def constant(optimizer: torch.optim.Optimizer, total: int) -> torch.optim.lr_scheduler.LRScheduler:
        told.append(total)
        return torch.optim.lr_scheduler.ConstantLR(optimizer)

    schedule = Schedule(partial(constant, total="run_length"), interval)
    classifier = Classification(LeNet(1, (32, 32), 10), tuple("0123456789"), SGD, schedule)
    trainer(tmp_path).fit(classifier, datamodule=digits())
    assert told == [length]  # 1,294 train images at batch 64 are 21 steps an epoch


def test_one_that_only_evaluates_cannot_be_trained() -> None:
    network = LeNet(in_channels=1, image_size=(32, 32), num_classes=10)
    with pytest.raises(RuntimeError, match="a Classification without optimizer cannot be trained"):
        Classification(network, ["a", "b"]).configure_optimizers()


class Gives(torch.nn.Module):
    """Gives the same for any images."""

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.output[: len(images)]


IMAGES, LABELS = torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 2, 0])


@pytest.mark.parametrize(
    ("batch", "output", "message"),
    [
        (
            (IMAGES,),
            torch.zeros(4, 3),
            "batches of tuple of float32 (4, 1, 8, 8), and this task takes images and",
        ),
        ((IMAGES.byte(), LABELS), torch.zeros(4, 3), "images of uint8 (4, 1, 8, 8), and this task takes float"),
        ((IMAGES[:, 0], LABELS), torch.zeros(4, 3), "images of float32 (4, 8, 8), and this task takes float"),
        ((IMAGES, LABELS.float()), torch.zeros(4, 3), "labels of float32 (4,) for images of float32 (4, 1, 8, 8)"),
        ((IMAGES, torch.zeros(4, 8, 8).long()), torch.zeros(4, 3), "labels of int64 (4, 8, 8) for images"),
        ((IMAGES, LABELS + 1), torch.zeros(4, 3), "labels from 1 to 3, and there are 3 classes"),
        ((IMAGES, LABELS), torch.zeros(4, 2), "gives float32 (2, 2) for 2 images, and (2, 3) is needed"),
    ],
)
def test_a_first_batch_that_does_not_fit_is_refused(batch: Any, output: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        Classification(Gives(output), "abc").check_batch(batch)
    assert len(str(refused.value).splitlines()) == 2


def test_the_look_at_a_batch_leaves_no_trace() -> None:
    network = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.BatchNorm1d(64), torch.nn.Linear(64, 3)
    )
    network[2].eval()  # as one whose statistics are frozen
    before, random = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_rng_state()
    Classification(network, "abc").check_batch((torch.rand(4, 1, 8, 8, generator=torch.Generator()), LABELS))
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [module.training for module in network] == [True, True, False, True]
