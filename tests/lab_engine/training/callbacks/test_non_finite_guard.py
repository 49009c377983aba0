"""Runs whose loss is not a finite number: real ones, with a learning rate that no network survives."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lab_engine.training.callbacks.non_finite_guard import MAX_BYTES_HELD, LossBuffer, Step
from lenet_lab.models.lenet import LeNet
from tests.conftest import Command
from tests.lab_engine.sweeps.conftest import run_sweep

DIVERGING = ["data=digits", "data.batch_size=64", "optimizer.lr=1e9", "trainer.max_epochs=2", "report=false"]


def batch_left_in(file: Path) -> dict[str, Any]:
    return torch.load(file, weights_only=True)


def loss_of(left: dict[str, Any]) -> Tensor:
    """What the weights in the file make of the batch in the file."""
    network = LeNet(in_channels=1, image_size=(32, 32), num_classes=10)
    network.load_state_dict({name.removeprefix("network."): value for name, value in left["weights"].items()})
    images, labels = left["batch"]
    return torch.nn.functional.cross_entropy(network(images), labels)


@pytest.mark.parametrize(("loop", "batches"), [("lean_loop=true", 1), ("lean_loop=false", 2)])
def test_a_run_ends_at_the_step_and_leaves_its_batch(command: Command, loop: str, batches: int) -> None:
    result = command("train", *DIVERGING, loop, f"trainer.accumulate_grad_batches={batches}")
    assert result.status == 2
    assert "Warning" not in result.out
    first, second = result.err.splitlines()
    left = batch_left_in(result.folder / "bad_batch.pt")
    where = f"at step {left['step']} (epoch 1, batch {left['batch_number']})"
    assert first.startswith(f"error: the loss is {left['loss']:g} {where}, and the run has ended. ")
    assert first.endswith(f" {result.folder}/bad_batch.pt.")
    assert "smaller optimizer.lr" in second
    assert "callbacks.finite=null" in second
    assert left["step"] == (left["batch_number"] - 1) // batches + 1 > 1
    assert left["batch"][0].shape == (64, 1, 32, 32)
    assert not loss_of(left).isfinite()
    assert not (result.folder / "metrics.json").exists()
    assert (result.folder / "config.yaml").exists()
    assert not list(result.folder.rglob("*.ckpt"))


def test_weights_that_are_not_finite_are_never_saved(command: Command) -> None:
    """A single step, of a finite loss, that spoils them: no other loss would tell."""
    steps = ["optimizer.lr=1e39", "trainer.limit_train_batches=1", "trainer.max_epochs=1"]
    result = command("train", *DIVERGING, *steps)
    assert result.status == 2
    assert "error: after step 1 not all weights are finite, and the run has ended." in result.err
    assert not list(result.folder.rglob("*.ckpt"))
    assert batch_left_in(result.folder / "bad_batch.pt")["batch_number"] == 1


def test_without_the_callback_a_run_goes_on(command: Command) -> None:
    result = command("train", *DIVERGING, "callbacks.finite=null")
    assert result.status == 0, result.err
    assert result.metrics["val/loss"] is None
    assert not (result.folder / "bad_batch.pt").exists()


def test_gradients_that_overflow_in_16_bits_are_no_failure(command: Command) -> None:
    """The first ones do, for the scaler begins high; it notices and leaves these steps out."""
    result = command("train", *DIVERGING, "optimizer.lr=0.01", "trainer.precision=16-mixed")
    assert result.status == 0, result.err
    assert result.metrics["val/loss"] is not None


@pytest.mark.parametrize("every", ["0", "often", "1.5"])
def test_a_wrong_number_of_steps_is_refused(command: Command, every: str) -> None:
    result = command("train", *DIVERGING, f"callbacks.finite.every={every}")
    assert result.status == 2
    assert "is refused: give a whole number, at least 1" in result.err
    assert not result.folder.exists()


@pytest.mark.slow
def test_all_devices_stop(command: Command) -> None:
    result = command("train", *DIVERGING, "trainer.devices=2")
    assert result.status == 2
    assert result.err.startswith("error: the loss is ")
    assert len(result.err.splitlines()) == 2
    assert list(result.folder.glob("bad_batch.?.pt"))
    assert (result.folder / "config.yaml").exists()


@pytest.mark.slow
def test_a_sweep_says_which_jobs_have_diverged(tmp_path: Path) -> None:
    jobs = ["optimizer.lr=0.01,1e9", "seed=1,2", "logger=none"]
    sweep = run_sweep(tmp_path, *DIVERGING[:2], *DIVERGING[3:], *jobs)
    assert list(sweep.states.values()) == ["done", "done", "failed", "failed"]
    for number in ("2", "3"):
        reason = json.loads((sweep.folder / number / "job.json").read_text())["reason"]
        assert reason.startswith("the loss is ")
        assert f"{sweep.folder}/{number}/bad_batch.pt" in reason


def step(number: int, loss: float, size: int = 1, device: str = "cpu") -> Step:
    images = torch.zeros(size, dtype=torch.uint8, device=device)
    return Step(number, 1, number, (images, torch.zeros(1)), torch.tensor(loss, device=device))


def test_a_gpu_is_looked_at_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = LossBuffer(every=3)
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda"), raising=False)  # where they say they are
    found = [losses.add(step(number, loss)) for number, loss in enumerate([1.0, torch.nan, torch.nan, 1.0], start=1)]
    assert [each and each.number for each in found] == [None, None, 2, None]
    assert losses.check() is None
    assert losses.check() is None


def test_batches_of_a_gpu_are_held_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab_engine.training.callbacks.non_finite_guard.MAX_BYTES_HELD", 10)
    assert MAX_BYTES_HELD > 10**8
    monkeypatch.setattr(torch.Tensor, "device", torch.device("cuda"), raising=False)
    losses = LossBuffer(every=64)
    assert losses.add(step(1, torch.nan, size=5)) is None
    found = losses.add(step(2, 1.0, size=5))
    assert found is not None
    assert found.number == 1
