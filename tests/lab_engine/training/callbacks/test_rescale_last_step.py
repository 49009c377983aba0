"""Accumulated gradients: each step follows the mean of its own batches."""

from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch import seed_everything

from lab_engine.training.callbacks.rescale_last_step import RescaleLastStep
from lenet_lab.models.lenet import LeNet
from lenet_lab.tasks.classification import Classification
from tests.conftest import ROUNDING, Command
from tests.lenet_lab.tasks.test_classification import digits, trainer

SGD = partial(torch.optim.SGD, lr=0.05)


def test_the_last_step_of_an_epoch_is_divided_by_its_own_batches(tmp_path: Path) -> None:
    seed_everything(7, verbose=False)
    plain, network = LeNet(1, (32, 32), 10), LeNet(1, (32, 32), 10)
    network.load_state_dict(plain.state_dict())
    settings = {"max_epochs": 1, "accumulate_grad_batches": 8, "callbacks": [RescaleLastStep()]}
    trainer(tmp_path, **settings).fit(Classification(network, "0123456789", SGD), datamodule=digits())

    data = digits()
    data.setup()
    optimizer = SGD(plain.parameters())
    batches = list(data.train_dataloader())  # 21: two steps of eight batches, and one of five
    for first in range(0, len(batches), 8):
        group = batches[first : first + 8]
        optimizer.zero_grad()
        for images, labels in group:
            (F.cross_entropy(plain(data.prepare(images, training=True)), labels) / len(group)).backward()
        optimizer.step()
    assert len(batches) % 8 == 5
    for name, weights in plain.state_dict().items():
        torch.testing.assert_close(network.state_dict()[name], weights, rtol=ROUNDING, atol=ROUNDING)


def test_a_step_is_an_optimizer_step_everywhere(command: Command) -> None:
    result = command("train", "data=digits", "data.batch_size=32", "trainer.accumulate_grad_batches=8")
    assert result.status == 0, result.err
    assert "32 samples x 1 device x 8 accumulated = 256 samples per step, fewer at the end of an epoch" in result.out
    assert "6 steps, " in result.out  # of 43 batches
    assert result.metrics["train/steps"] == 12
    assert (result.folder / "curves.csv").read_text().splitlines()[2].startswith("2,12,")


def test_a_schedule_of_it_has_a_running_loss(command: Command) -> None:
    own = "+callbacks.more={_target_: lightning.pytorch.callbacks.GradientAccumulationScheduler, scheduling: {0: 8}}"
    result = command("train", "data=digits", "data.batch_size=32", own)
    assert result.status == 0, result.err
    assert "nan" not in result.out
