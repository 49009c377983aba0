"""A run that was cut off, at whatever moment, ends as one that was left in peace."""

import csv
import logging
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor, nn

from lab_engine.artifacts.checkpoint import read_checkpoint
from lab_engine.artifacts.run_folder import in_folder
from lab_engine.base.signals import Interrupted
from lab_engine.training import terminal
from lab_engine.training.callbacks import resume_checkpoint
from lab_engine.training.callbacks.progress import Progress
from lab_engine.training.callbacks.resume_checkpoint import ResumeCheckpoint
from lenet_lab.compose import compose
from lenet_lab.training import train
from tests import forked
from tests.conftest import KILLS, OF_DATA, PowerCutError, environment_in
from tests.lab_engine.sweeps.conftest import wait_until
from tests.resumed import OF_THE_CLOCK, assert_same_run

# Steps of 16 images, 86 an epoch, each gather of the loader 64 of them; a checkpoint whenever there may be one.
RUN = (
    *("data=digits", "data.batch_size=16", "trainer.max_epochs=2", "trainer.log_every_n_steps=10", "report=false"),
    *("scheduler=one_cycle", "augment=[shift,colour]", "callbacks.dashboard=null"),
    "callbacks.last.every_n_minutes=1e-9",
)


def cut_at(monkeypatch: pytest.MonkeyPatch, *steps: int, hook: str = "on_train_batch_start") -> list[int]:
    """Have the power fail when so many steps are done, once each; gives those that are still to come."""
    left = list(steps)

    def cut(self: Progress, trainer: Trainer, *rest: Any) -> None:
        if left and trainer.global_step == left[0]:
            left.pop(0)
            raise PowerCutError

    monkeypatch.setattr(Progress, hook, cut, raising=False)
    return left


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


DROPPED = {"_target_": "tests.lab_engine.training.callbacks.test_resume_checkpoint.Dropped", **OF_DATA}


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
        (
            ("+trainer.val_check_interval=20", "augment=[]"),
            {"_target_": "tests.lab_engine.training.callbacks.test_resume_checkpoint.Dropped", **OF_DATA},
        ),
    ],
    ids=["one cycle", "Lightning's loop", "accumulated", "plateau", "random numbers of the network"],
)
def test_goes_on_in_the_middle_of_an_epoch_wherever_the_folder_is_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], model: dict[str, Any] | None
) -> None:
    train(settings(tmp_path / "calm", *words, "callbacks.last.every_n_minutes=null", model=model))
    cuts = cut_at(monkeypatch, *([3, 9, 15, 20] if "trainer.accumulate_grad_batches=4" in words else [5, 37, 70, 95]))
    can_save = resume_checkpoint._can_save
    monkeypatch.setattr(
        resume_checkpoint,
        "_can_save",
        lambda trainer, *rest: trainer.global_step % 3 == 2 and can_save(trainer, *rest),
    )
    folder = tmp_path / "cut"
    while cuts:
        with pytest.raises(PowerCutError):
            train(settings(folder, *words, model=model))
        folder = folder.rename(tmp_path / f"moved-{len(cuts)}")
    train(settings(folder, *words, model=model))
    assert_same_run(tmp_path / "calm", folder)


def test_a_run_that_was_cut_off_before_its_first_checkpoint_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("callbacks.last.every_n_minutes=null", "logger=[tensorboard,csv]")
    train(settings(tmp_path / "calm", *words))
    cuts = cut_at(monkeypatch, 30, 60)
    while cuts:
        with pytest.raises(PowerCutError):
            train(settings(tmp_path / "cut", *words))
    train(settings(tmp_path / "cut", *words))
    assert_same_run(tmp_path / "calm", tmp_path / "cut")
    assert csv_rows(tmp_path / "calm") == csv_rows(tmp_path / "cut")


def csv_rows(run: Path) -> list[dict[str, str]]:
    """What the CSV logger has written, but for times."""
    with (run / "csv" / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return [{key: value for key, value in row.items() if key not in OF_THE_CLOCK} for row in rows]


def test_a_run_that_had_ended_early_is_not_trained_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stop = "{_target_: lightning.pytorch.callbacks.EarlyStopping, monitor: val/loss, stopping_threshold: 100}"
    config = settings(tmp_path / "run", "trainer.max_epochs=5", f"+callbacks.stop={stop}")
    cut_at(monkeypatch, 86, hook="on_test_start")
    with pytest.raises(PowerCutError):
        train(config)
    assert train(config)["train/steps"] == 86  # an epoch


KILL = """
import os, random, signal, sys, time
from pathlib import Path
from lab_engine.sweeps import warm  # imports what a run needs
from lenet_lab.training import train
from tests.lab_engine.training.callbacks.test_resume_checkpoint import settings

folder, kills = Path(sys.argv[1]), int(sys.argv[2])
chance = random.Random(sys.argv[3])
config = settings(folder, *sys.argv[4:])
killed = 0
while True:
    child = os.fork()
    if not child:
        train(config)
        os._exit(0)
    if killed < kills:
        time.sleep(chance.uniform(0.1, 0.8))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    killed += os.WIFSIGNALED(status)
    if not os.WIFSIGNALED(status):
        break
print(killed, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.slow
@pytest.mark.timeout(150 * KILLS)
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    words = [f"trainer.max_epochs={2 * KILLS}", "callbacks.last.every_n_minutes=0.0005"]
    train(settings(tmp_path / "calm", *words, "callbacks.last.every_n_minutes=null"))
    chance = os.environ.get("KILLS_SEED", "1")
    done = forked.run(
        [sys.executable, "-c", KILL, str(tmp_path / "killed"), str(KILLS), chance, *words],
        cwd=Path(__file__).parents[4],
        env=environment_in(tmp_path),
        timeout=150 * KILLS,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"{KILLS} 0"
    assert_same_run(tmp_path / "calm", tmp_path / "killed")


def start(where: Path, *words: str) -> "subprocess.Popen[str]":
    """A run in a group of its own, as a shell starts it."""
    return forked.Popen(
        [sys.executable, "-m", "lenet_lab.train", *words],
        cwd=where,
        env=environment_in(where),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def has_stepped(folder: Path) -> bool:
    """Whether a run has reported its first loss."""
    return (folder / "train.log").exists() and "loss" in (folder / "train.log").read_text()


@pytest.fixture(scope="module")
def calm(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """A run on one device or on two that nobody interrupts, and its words."""
    own = ("trainer.max_epochs=8", f"trainer.devices={request.param}")
    words = (*[word for word in RUN if not word.startswith(("trainer.max_epochs", "callbacks.last"))], *own)
    where = tmp_path_factory.mktemp("calm")
    run = start(where, *words, "hydra.run.dir=run")
    out, err = run.communicate(timeout=250)
    assert run.returncode == 0, out + err
    return where / "run", words


@pytest.mark.slow
@pytest.mark.parametrize(
    ("calm", "number", "status", "name"),
    [
        (1, signal.SIGTERM, 143, "SIGTERM"),
        (2, signal.SIGINT, 130, "Ctrl-C"),
        pytest.param(1, signal.SIGINT, 130, "Ctrl-C", marks=pytest.mark.long),
        pytest.param(2, signal.SIGTERM, 143, "SIGTERM", marks=pytest.mark.long),
    ],
    indirect=["calm"],
)
def test_a_signal_saves_and_says_how_to_go_on(
    tmp_path: Path, calm: tuple[Path, tuple[str, ...]], number: int, status: int, name: str
) -> None:
    undisturbed, words = calm
    run = start(tmp_path, *words, "hydra.run.dir=cut")
    wait_until(lambda: has_stepped(tmp_path / "cut"), seconds=100)
    os.killpg(run.pid, number)
    out, err = run.communicate(timeout=60)
    assert run.returncode == status, err
    assert err == f"\n{name}: the run is stopping; a second signal stops it at once.\n"
    assert out.splitlines()[-1].endswith("python -m lenet_lab.train resume=cut")
    steps = read_checkpoint(tmp_path / "cut" / "checkpoints" / "last.ckpt")["global_step"]
    assert f"interrupted, {steps:,} steps saved" in out
    again = start(tmp_path, "resume=cut")
    out, err = again.communicate(timeout=250)
    assert again.returncode == 0, err
    assert_same_run(undisturbed, tmp_path / "cut")


# --- what it decides, and when ---


class FakeTrainer(SimpleNamespace):
    """As much of a Trainer as is asked; counts what is saved."""

    def __init__(self, **different: Any) -> None:
        usual: dict[str, Any] = {
            "world_size": 1,
            "is_global_zero": True,
            "is_last_batch": False,
            "accumulate_grad_batches": 1,
            "val_check_batch": float("inf"),
            "lr_scheduler_configs": [],
            "global_step": 3,
            "log_every_n_steps": 10,
            "should_stop": False,
            "callbacks": [],
            "loggers": [],
            "strategy": SimpleNamespace(root_device=torch.device("cpu")),
            "fit_loop": SimpleNamespace(
                _load_combined_loader_states=lambda: None, _combined_loader=SimpleNamespace(flattened=[])
            ),
        }
        super().__init__(**usual | different)
        self.saved: list[tuple[Path, dict[str, Any]]] = []

    def save_checkpoint(self, file: Path, **options: Any) -> None:
        self.saved.append((file, options))


MODULE: Any = None  # it is not looked at


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """What `time.monotonic` says there."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(resume_checkpoint, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize(
    ("batch", "different", "expected"),
    [
        (0, {}, True),
        (0, {"is_last_batch": True}, False),
        (2, {"accumulate_grad_batches": 2}, False),
        (3, {"accumulate_grad_batches": 2}, True),
        (19, {"val_check_batch": 20}, False),
        (20, {"val_check_batch": 20}, True),
        (19, {"val_check_batch": None}, True),
        (0, {"global_step": 20}, False),  # loggers get what was just reported only after this
        (0, {"global_step": 21}, True),
        (0, {"log_every_n_steps": 1}, True),
        (0, {"log_every_n_steps": 3}, False),
        *(
            (0, {"lr_scheduler_configs": [SimpleNamespace(reduce_on_plateau=watches, interval=interval)]}, expected)
            for watches, interval, expected in (
                (True, "step", False),
                (True, "epoch", True),
                (False, "step", True),
                (False, "epoch", True),
            )
        ),
    ],
)
def test_a_run_is_cut_only_where_a_checkpoint_holds_all(batch: int, different: dict[str, Any], expected: bool) -> None:
    assert resume_checkpoint._can_save(FakeTrainer(**different), batch) is expected


def test_saves_after_so_many_minutes(tmp_path: Path, clock: SimpleNamespace) -> None:
    callback, trainer = ResumeCheckpoint(tmp_path, every_n_minutes=0.5), FakeTrainer()
    clock.now += 100  # what came before training does not count
    callback.on_train_start(trainer, MODULE)
    try:
        for seconds, saves in ((29.9, 0), (0.1, 1), (29.9, 1), (0.1, 2)):
            clock.now += seconds
            callback.on_train_batch_end(trainer, MODULE, None, None, 0)
            assert len(trainer.saved) == saves
        clock.now += 40
        trainer.is_last_batch = True
        callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert len(trainer.saved) == 2
        callback.on_train_epoch_end(trainer, MODULE)
        assert trainer.saved[2] == (
            tmp_path / "last.ckpt",
            {"weights_only": False, "storage_options": {"keep_previous": True}},
        )
        trainer.is_last_batch = False
        callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert len(trainer.saved) == 3  # an epoch begins a new count
    finally:
        callback.on_train_end(trainer, MODULE)


def test_without_minutes_only_epochs_are_saved(tmp_path: Path, clock: SimpleNamespace) -> None:
    callback, trainer = ResumeCheckpoint(str(tmp_path), every_n_minutes=None), FakeTrainer()
    callback.on_train_start(trainer, MODULE)
    clock.now += 1e9
    callback.on_train_batch_end(trainer, MODULE, None, None, 0)
    assert trainer.saved == []
    callback.on_train_epoch_end(trainer, MODULE)
    callback.on_exception(trainer, MODULE, KeyError())
    assert [file for file, _ in trainer.saved] == [tmp_path / "last.ckpt"]
    assert ResumeCheckpoint(tmp_path).seconds == 120


def test_curves_are_on_the_disk_before_the_checkpoint(tmp_path: Path) -> None:
    order = list[str]()
    trainer = FakeTrainer(loggers=[SimpleNamespace(save=lambda: order.append("logger"))])
    trainer.save_checkpoint = lambda *_, **__: order.append("checkpoint")
    ResumeCheckpoint(tmp_path).on_train_epoch_end(trainer, MODULE)
    assert order == ["logger", "checkpoint"]


@pytest.mark.parametrize("in_an_epoch", [True, False])
def test_a_signal_saves_once_and_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str], in_an_epoch: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    callback, trainer = ResumeCheckpoint(tmp_path), FakeTrainer(is_last_batch=True)
    callback.on_train_start(trainer, MODULE)
    os.kill(os.getpid(), signal.SIGTERM)
    callback.on_train_batch_end(trainer, MODULE, None, None, 0)  # here it cannot be cut
    assert trainer.saved == []
    trainer.is_last_batch = False
    arguments = (trainer, MODULE, None, None, 1) if in_an_epoch else (trainer, MODULE)
    with pytest.raises(Interrupted) as ended:
        (callback.on_train_batch_end if in_an_epoch else callback.on_train_epoch_end)(*arguments)
    assert ended.value.status == 143
    assert len(trainer.saved) == 1
    callback.on_exception(trainer, MODULE, ended.value)
    assert signal.getsignal(signal.SIGTERM) is before
    assert "SIGTERM" in capfd.readouterr().err


class Talks:
    """Stands in for `torch.distributed` of this device, and says what another one says."""

    ReduceOp = SimpleNamespace(MAX="max")

    def __init__(self, *other: int) -> None:
        self.other = torch.tensor(other)
        self.heard: list[list[int]] = []

    def all_reduce(self, said: Tensor, operation: str) -> None:
        assert operation == "max"
        self.heard.append(said.tolist())
        said.copy_(torch.maximum(said, self.other))


def test_several_devices_talk_about_once_a_second(
    tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = Talks(0, 0, 0)
    monkeypatch.setattr(resume_checkpoint, "distributed", talks)
    callback, trainer = ResumeCheckpoint(tmp_path, every_n_minutes=0.5), FakeTrainer(world_size=2)
    callback.on_train_start(trainer, MODULE)
    try:
        steps = list[int]()
        for step in range(1, 1000):
            clock.now += 0.01
            before = len(talks.heard)
            callback.on_train_batch_end(trainer, MODULE, None, None, 0)
            steps += [step] * (len(talks.heard) - before)
        assert steps[:8] == [1, 3, 7, 15, 31, 63, 127, 227]  # from each talk to the next at most twice as long
        assert {after - before for before, after in pairwise(steps[7:])} == {100}
        clock.now += 20.0  # a step that takes long
        for _ in range(28):
            callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert trainer.saved == []
        assert talks.heard[-1][2] == 4  # 100 steps took 20 seconds and more: four of them take a second
        clock.now += 10.0
        for _ in range(4):
            callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert len(trainer.saved) == 1
        assert talks.heard[-1] == [0, 1, 1]
    finally:
        callback.on_train_end(trainer, MODULE)


def test_a_device_does_what_the_first_or_any_other_says(
    tmp_path: Path, clock: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    talks = Talks(0, 1, 7)
    monkeypatch.setattr(resume_checkpoint, "distributed", talks)
    callback, trainer = ResumeCheckpoint(tmp_path, every_n_minutes=0.5), FakeTrainer(world_size=2, is_global_zero=False)
    callback.on_train_start(trainer, MODULE)
    try:
        clock.now += 1e6
        callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert talks.heard == [[0, 0, 0]]  # when it is time, and when they talk again, the first one says
        assert len(trainer.saved) == 1
        talks.other = torch.tensor([signal.SIGINT, 0, 7])
        for _ in range(6):
            callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert len(talks.heard) == 1
        with pytest.raises(Interrupted) as ended:
            callback.on_train_batch_end(trainer, MODULE, None, None, 0)
        assert (ended.value.status, len(trainer.saved)) == (130, 2)
        with pytest.raises(Interrupted):
            callback.on_train_epoch_end(trainer, MODULE)  # at once, whenever the next talk would be
        assert len(talks.heard) == 3
    finally:
        callback.on_train_end(trainer, MODULE)


def test_what_has_ended_training_and_the_best_so_far_go_where_the_folder_is_now(tmp_path: Path) -> None:
    old, new = "/old/checkpoints", tmp_path / "checkpoints"
    kept: dict[str, Any] = {}
    callback = ResumeCheckpoint(new)
    callback.on_save_checkpoint(FakeTrainer(should_stop=True), MODULE, kept)
    best = ModelCheckpoint(new, "best", monitor="val/accuracy")
    elsewhere = ModelCheckpoint(tmp_path / "other", monitor="val/loss")
    state = {
        "dirpath": old,
        "best_model_path": f"{old}/best.ckpt",
        "kth_best_model_path": f"{old}/best.ckpt",
        "last_model_path": "",
        "best_k_models": {f"{old}/best.ckpt": 0.5},
        "best_model_score": 0.5,
    }
    others = {"best_model_path": "local:///x/y", "best_k_models": {"/x/..": 1, "ftp://host/z": 2}}
    kept["callbacks"] = {best.state_key: state, elsewhere.state_key: dict(others), ModelCheckpoint: dict(others)}
    trainer = FakeTrainer(callbacks=[callback, best, elsewhere])
    callback.on_load_checkpoint(trainer, MODULE, kept)
    assert trainer.should_stop is True
    assert state == {
        "dirpath": str(new),
        "best_model_path": str(new / "best.ckpt"),
        "kth_best_model_path": str(new / "best.ckpt"),
        "last_model_path": "",
        "best_k_models": {str(new / "best.ckpt"): 0.5},
        "best_model_score": 0.5,
    }
    for key, folder in ((elsewhere.state_key, tmp_path / "other"), (ModelCheckpoint, tmp_path / "other")):
        assert kept["callbacks"][key] == {
            "dirpath": str(folder),
            "best_model_path": str(folder / "y"),
            "kth_best_model_path": "",
            "last_model_path": "",
            "best_k_models": {str(folder / "z"): 2},
        }
    callback.on_load_checkpoint(trainer, MODULE, {"callbacks": {}})
    assert trainer.should_stop is False


def test_schedules_that_watch_a_metric_move_before_the_checkpoint(tmp_path: Path) -> None:
    moved = list[tuple[Any, ...]]()
    for watches, interval in ((True, "epoch"), (True, "step"), (False, "epoch")):
        loop = SimpleNamespace(update_lr_schedulers=lambda *words, **more: moved.append((*words, more)))
        trainer = FakeTrainer(lr_scheduler_configs=[SimpleNamespace(reduce_on_plateau=watches, interval=interval)])
        trainer.fit_loop = SimpleNamespace(epoch_loop=loop, _restarting=False)
        ResumeCheckpoint(tmp_path).on_train_epoch_end(trainer, MODULE)
        assert trainer.fit_loop._restarting is (watches and interval == "epoch")
    assert moved == [("epoch", {"update_plateau_schedulers": True})]
