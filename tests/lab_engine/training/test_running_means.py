"""Means of training: exact, weighted by samples, and the same in a resumed run."""

from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from lab_engine.training.running_means import STEPS_PER_SUM, LoggedMeans, RunningMeans

STEPS = STEPS_PER_SUM + 20
CPU: Any = SimpleNamespace(device=torch.device("cpu"))


def steps(seed: int = 0) -> list[tuple[int, dict[str, Any]]]:
    random = torch.Generator().manual_seed(seed)
    made = []
    for step in range(STEPS):
        samples = 1 + step % 3
        answers, labels = torch.randint(0, 2, (2, samples), generator=random)
        made.append((samples, {"loss": torch.rand((), generator=random), "hits": (answers, labels)}))
    return made


def expected(of: list[tuple[int, dict[str, Any]]]) -> dict[str, float]:
    samples = sum(each for each, _ in of)
    loss = sum(each * float(values["loss"]) for each, values in of) / samples
    hits = sum(int((values["hits"][0] == values["hits"][1]).sum()) for _, values in of)
    return {"loss": pytest.approx(loss, rel=1e-12), "hits": hits / samples}


def means(sums: Any) -> dict[str, float]:
    return {name: float(total) / samples for name, (total, samples) in sums.items()}


def test_samples_weigh_the_same_and_reports_go_on_across_epochs() -> None:
    running, first, second = RunningMeans(), steps(), steps(1)
    for step in first:
        running.update(*step)
    assert means(running.epoch_sums()) == expected(first)
    running.on_train_epoch_start(*[CPU] * 2)
    assert running.epoch_sums() == {}
    for step in second:
        running.update(*step)
    assert means(running.epoch_sums()) == expected(second)
    assert {name: float(value) for name, value in running.report().items()} == expected([*first, *second])
    running.update(*first[0])
    assert {name: float(value) for name, value in running.report().items()} == expected(first[:1])
    assert means(running.epoch_sums()) == expected([*second, first[0]])


def test_a_resumed_epoch_has_the_same_bits_however_often_it_was_looked_at() -> None:
    whole, cut, resumed = RunningMeans(), RunningMeans(), RunningMeans()
    for step in steps():
        whole.update(*step)
    for step in steps()[: STEPS_PER_SUM + 7]:
        cut.update(*step)
        cut.epoch_sums()
    resumed.load_state_dict(deepcopy(cut.state_dict()))
    resumed.on_train_start(CPU, CPU)
    for step in steps()[STEPS_PER_SUM + 7 :]:
        resumed.update(*step)
    assert resumed.epoch_sums() == whole.epoch_sums()
    assert resumed.report() == whole.report()


class Logs(LightningModule):
    """Logs its loss at each step, as Lightning's pages show it, and knows nothing of the program."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(1, 1)
        self.losses: list[tuple[float, int]] = []

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        loss = (self.layer(batch[0]) - 1).square().mean()
        self.log("train/loss", loss)
        self.log("train/most", loss, reduce_fx="max", on_epoch=True)
        self.log_dict({"train/half": loss / 2}, on_step=False, on_epoch=True)
        self.losses.append((loss.item(), len(batch[0])))
        return loss

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.01)


def test_any_task_gets_the_mean_of_the_epoch(tmp_path: Path) -> None:
    task, batches = Logs(), DataLoader(TensorDataset(torch.randn(10, 1)), 4)
    quiet: Any = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    for _ in range(2):  # the second training wraps `log` again
        logged = LoggedMeans()
        Trainer(max_epochs=2, accelerator="cpu", callbacks=[logged], default_root_dir=tmp_path, **quiet).fit(
            task, batches
        )
        last = task.losses[-3:]
        loss = sum(each * samples for each, samples in last) / 10
        assert logged.means == pytest.approx({"train/loss": loss, "train/half": loss / 2})
