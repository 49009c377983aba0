"""A run that was cut off, at whatever moment, ends as one that was left in peace."""

import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from lightning.pytorch import Trainer
from torch import Tensor, nn

from lenet_lab import terminal, train
from lenet_lab.callbacks import last
from lenet_lab.callbacks.progress import Progress
from lenet_lab.checkpoint import read_checkpoint
from lenet_lab.compose import compose
from lenet_lab.run_folder import in_folder
from tests.conftest import environment_in
from tests.resumed import assert_same_run
from tests.sweeps.conftest import wait_until

# Steps of 16 images, 86 an epoch, each gather of the loader 64 of them; a checkpoint whenever there may be one.
RUN = (
    *("data=digits", "data.batch_size=16", "trainer.max_epochs=2", "trainer.log_every_n_steps=10", "report=false"),
    *("scheduler=one_cycle", "augment=[shift,colour]", "callbacks.dashboard=null"),
    "callbacks.last.every_n_minutes=1e-9",
)


class PowerCutError(Exception):
    """Comes between two steps, with no chance to save anything."""


class Dropped(nn.Module):
    """Draws random numbers in each step, of PyTorch and of Python."""

    def __init__(self, in_channels: int, image_size: tuple[int, int], num_classes: int) -> None:
        super().__init__()
        height, width = image_size
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(in_channels * height * width, num_classes), nn.BatchNorm1d(10)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x) * (random.random() if self.training else 1)


def settings(folder: Path, *words: str, model: dict[str, Any] | None = None) -> dict[str, Any]:
    """A checked configuration for a run in `folder`."""
    folder.mkdir(exist_ok=True)
    return in_folder(compose(*RUN, *words), folder) | ({"model": model} if model else {})


@pytest.fixture(autouse=True)
def _logging() -> Iterator[None]:
    yield
    terminal.close_log()
    logging.captureWarnings(False)


@pytest.mark.parametrize(
    ("words", "model"),
    [
        ((), None),
        (("lean_loop=false", "data.shuffle=false"), None),
        (("trainer.accumulate_grad_batches=4", "optimizer=adamw"), None),
        (("scheduler=plateau", "optimizer=muon", "trainer.limit_train_batches=50"), None),
        (("+trainer.val_check_interval=20", "augment=[]"), {"_target_": "tests.callbacks.test_last.Dropped"}),
    ],
    ids=["one cycle", "Lightning's loop", "accumulated", "plateau", "random numbers of the network"],
)
def test_goes_on_in_the_middle_of_an_epoch_wherever_the_folder_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], model: dict[str, Any] | None
) -> None:
    train.run(settings(tmp_path / "calm", *words, model=model))
    cuts = [3, 9, 15, 20] if "trainer.accumulate_grad_batches=4" in words else [5, 37, 70, 95]

    def cut(self: Progress, trainer: Trainer, *rest: Any) -> None:
        if cuts and trainer.global_step == cuts[0]:
            cuts.pop(0)
            raise PowerCutError

    can_be_cut = last._can_be_cut
    monkeypatch.setattr(
        last, "_can_be_cut", lambda trainer, *rest: trainer.global_step % 3 == 2 and can_be_cut(trainer, *rest)
    )
    monkeypatch.setattr(Progress, "on_train_batch_start", cut, raising=False)
    folder = tmp_path / "cut"
    while cuts:
        with pytest.raises(PowerCutError):
            train.run(settings(folder, *words, model=model))
        folder = folder.rename(tmp_path / f"moved-{len(cuts)}")
    train.run(settings(folder, *words, model=model))
    assert_same_run(tmp_path / "calm", folder)


def test_a_run_that_was_cut_off_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("callbacks.last.every_n_minutes=null", "logger=[tensorboard,csv]")
    train.run(settings(tmp_path / "calm", *words))
    cuts = [30, 60]

    def cut(self: Progress, trainer: Trainer, *rest: Any) -> None:
        if cuts and trainer.global_step == cuts[0]:
            cuts.pop(0)
            raise PowerCutError

    monkeypatch.setattr(Progress, "on_train_batch_start", cut, raising=False)
    while cuts:
        with pytest.raises(PowerCutError):
            train.run(settings(tmp_path / "cut", *words))
    train.run(settings(tmp_path / "cut", *words))
    assert_same_run(tmp_path / "calm", tmp_path / "cut")


def test_a_run_that_had_ended_early_is_not_trained_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, stopping_threshold: 100}"
    config = settings(tmp_path / "run", "trainer.max_epochs=5", f"+callbacks.stop={stop}")
    cuts = [1]

    def cut(self: Progress, *rest: Any) -> None:
        if cuts and cuts.pop():
            raise PowerCutError

    monkeypatch.setattr(Progress, "on_test_start", cut, raising=False)
    with pytest.raises(PowerCutError):
        train.run(config)
    assert train.run(config)["train/steps"] == 86  # an epoch


KILL = """
import os, random, signal, sys, time
from pathlib import Path
from lenet_lab.sweeps import warm  # imports what a run needs
from lenet_lab import train
from tests.callbacks.test_last import settings

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(sys.argv[3])
config = settings(folder, *sys.argv[4:])
killed = 0
while True:
    child = os.fork()
    if not child:
        train.run(config)
        os._exit(0)
    if killed < kills:
        time.sleep(chance.uniform(0.1, 1.5))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed += os.WIFSIGNALED(status)
    if not os.WIFSIGNALED(status):
        break
print(killed, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_twenty_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    words = ["trainer.max_epochs=40", "callbacks.last.every_n_minutes=0.0005"]
    train.run(settings(tmp_path / "calm", *words))
    chance = os.environ.get("KILLS_SEED", "1")
    done = subprocess.run(
        [sys.executable, "-c", KILL, str(tmp_path / "killed"), "20", chance, *words],
        cwd=Path(__file__).parents[2],
        env=environment_in(tmp_path),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "20 0"
    assert_same_run(tmp_path / "calm", tmp_path / "killed")


def start(where: Path, *words: str) -> "subprocess.Popen[str]":
    """A run in a group of its own, as a shell starts it."""
    return subprocess.Popen(
        [sys.executable, "-m", "lenet_lab.train", *words],
        cwd=where,
        env=environment_in(where),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


def has_stepped(folder: Path) -> bool:
    """Whether a run has reported its first loss."""
    return (folder / "train.log").exists() and "loss" in (folder / "train.log").read_text()


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize(
    ("number", "status", "name"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, devices: int, number: int, status: int, name: str
) -> None:
    own = ("trainer.max_epochs=20", f"trainer.devices={devices}")
    words = (*[word for word in RUN if not word.startswith(("trainer.max_epochs", "callbacks.last"))], *own)
    calm = start(tmp_path, *words, "hydra.run.dir=calm")
    calm.communicate(timeout=250)
    assert calm.returncode == 0
    run = start(tmp_path, *words, "hydra.run.dir=cut")
    wait_until(lambda: has_stepped(tmp_path / "cut"), seconds=100)
    os.killpg(run.pid, number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == status, err
    assert err == f"\n{name}: the run is kept and ends; once more ends it at once.\n"
    assert out.splitlines()[-1].endswith("python -m lenet_lab.train resume=cut")
    steps = read_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["global_step"]
    assert f"interrupted, {steps:,} steps kept" in out
    again = start(tmp_path, "resume=cut")
    out, err = again.communicate(timeout=250)
    assert again.returncode == 0, err
    assert_same_run(tmp_path / "calm", tmp_path / "cut")
