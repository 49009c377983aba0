from pathlib import Path

import pytest
import torch

from lab_engine.artifacts.checkpoint import read_checkpoint
from lab_engine.artifacts.curves import read_curves
from lenet_lab.api import compose, fit

SMALL = ("data=digits", "data.batch_size=64", "optimizer.lr=0.05", "trainer.max_epochs=4", "threads=1", "report=false")


def weights(folder: Path) -> torch.Tensor:
    return read_checkpoint(folder / "checkpoints" / "best.ckpt")["state_dict"]["network.fc3.weight"]


def test_an_average_that_has_not_started_is_the_current_weights(tmp_path: Path) -> None:
    """Else best.ckpt would hold the initial weights, whose accuracy is that of chance."""
    alone = fit(compose(*SMALL, folder=str(tmp_path / "alone")))
    words = ("callbacks=[default,ema]", "callbacks.ema.update_starting_at_step=10000")
    late = fit(compose(*SMALL, *words, folder=str(tmp_path / "late")))
    assert late["test/accuracy"] == alone["test/accuracy"] > 0.5
    assert torch.equal(weights(tmp_path / "late"), weights(tmp_path / "alone"))


def test_swa_is_the_mean_of_the_last_epochs_and_is_what_is_measured(tmp_path: Path) -> None:
    ends = []
    for epochs in (3, 4):  # the weights of a run at their ends, whatever its length
        folder = tmp_path / f"{epochs}"
        fit(compose(*SMALL, f"trainer.max_epochs={epochs}", folder=str(folder)))
        ends.append(read_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]["network.fc3.weight"])
    words = ("callbacks=[default,swa]", "callbacks.swa.start=0.5", "task.monitor=val/loss", "task.mode=min")
    metrics = fit(compose(*SMALL, *words, folder=str(tmp_path / "swa")))
    last = read_checkpoint(tmp_path / "swa" / "checkpoints" / "last.ckpt")["state_dict"]["network.fc3.weight"]
    torch.testing.assert_close(last, (ends[0] + ends[1]) / 2)
    best = min(row["val/loss"] for row in read_curves(tmp_path / "swa" / "curves.csv"))
    assert metrics["val/loss"] == pytest.approx(best)
