"""Jobs trained together end as they do alone, and leave the same files."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from lenet_lab import checkpoint_io, terminal, train
from lenet_lab.compose import compose
from lenet_lab.curves import read_curves
from lenet_lab.data.digits import Digits
from lenet_lab.data.image_set import ImageSet
from lenet_lab.errors import UserError
from lenet_lab.sweeps import member
from lenet_lab.sweeps.together import JobsFailedError, expectation, groups, train_together, why_alone
from tests.conftest import run_command

Config = dict[str, Any]
COMMON = [
    "data=digits",
    "data.batch_size=64",
    "augment=shift",
    "scheduler=one_cycle",
    "trainer.max_epochs=3",
    "trainer.log_every_n_steps=10",
    "callbacks.checkpoint.monitor=val/loss",  # gets better every time, so Lightning writes last.ckpt every time
    "callbacks.checkpoint.mode=min",
    "threads=1",
]
OWN = (
    ["seed=1", "optimizer.lr=0.02"],
    ["seed=2", "optimizer.lr=0.02", "optimizer.momentum=0.8", "optimizer.weight_decay=0.001"],
    ["seed=3", "optimizer.lr=0.05", "optimizer.momentum=0"],
)


class Small(nn.Module):
    """With BatchNorm, and dropout if wanted."""

    def __init__(self, in_channels: int, image_size: Any, num_classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        # no bias: before BatchNorm its gradient is but rounding, of which Adam makes whole steps
        layers = [nn.Conv2d(in_channels, 8, 3, stride=3, bias=False), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
        layers += [nn.Dropout(dropout)] * (dropout > 0)
        self.layers = nn.Sequential(*layers, nn.Linear(800, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def jobs(where: Path, *more: str, model: Config | None = None) -> list[Config]:
    configs = [compose(*COMMON, *own, *more, folder=str(where / str(number))) for number, own in enumerate(OWN)]
    for config in configs:
        config["model"] = model or config["model"]
        Path(config["folder"]).mkdir(parents=True)
        Path(config["folder"], "config.yaml").write_text(OmegaConf.to_yaml(config))
    return configs


@pytest.fixture(autouse=True)
def tidy() -> Iterator[None]:
    threads = torch.get_num_threads()
    yield
    terminal.close_log()
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> list[Config]:
    configs = jobs(tmp_path_factory.mktemp("alone"))
    for config in configs:
        train.run(config)
    return configs


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> list[Config]:
    configs = jobs(tmp_path_factory.mktemp("together"))
    returned = train_together(configs)
    assert returned == [metrics(config) for config in configs]
    return configs


def metrics(config: Config) -> Config:
    return json.loads(Path(config["folder"], "metrics.json").read_text())


def checkpoint(config: Config, name: str = "last") -> Config:
    return torch.load(Path(config["folder"]) / "checkpoints" / f"{name}.ckpt", weights_only=True)


def log(config: Config) -> str:
    return Path(config["folder"], "train.log").read_text()


def assert_same(configs: list[Config], others: list[Config], rounding: float = 1e-3) -> None:
    """The same weights, metrics and curves, but for rounding and the time taken."""
    for config, other in zip(configs, others, strict=True):
        for name in ("best", "last"):
            ours, theirs = (checkpoint(job, name) for job in (config, other))
            assert (ours["epoch"], ours["global_step"]) == (theirs["epoch"], theirs["global_step"])
            assert ours["state_dict"].keys() == theirs["state_dict"].keys()
            for key, tensor in theirs["state_dict"].items():
                torch.testing.assert_close(ours["state_dict"][key], tensor, rtol=rounding, atol=rounding)
        assert without_seconds(metrics(config)) == pytest.approx(without_seconds(metrics(other)), rel=rounding)
        ours, theirs = (read_curves(Path(job["folder"], "curves.csv")) for job in (config, other))
        assert len(ours) == len(theirs) == 3
        for row, row_alone in zip(ours, theirs, strict=True):
            assert row == pytest.approx(row_alone, rel=rounding)


def without_seconds(found: Config) -> Config:
    return {key: value for key, value in found.items() if key != "train/seconds"}


def scalars(config: Config) -> dict[str, list[tuple[int, float]]]:
    events = EventAccumulator(str(Path(config["folder"], "tensorboard"))).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def test_results_are_those_of_training_alone(alone: list[Config], together: list[Config]) -> None:
    assert_same(together, alone)
    assert len({metrics(config)["test/loss"] for config in together}) == 3


def test_every_job_leaves_a_run_folder_of_its_own(alone: list[Config], together: list[Config]) -> None:
    def files(config: Config) -> list[str]:
        folder = Path(config["folder"])
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if "events" not in path.name)

    for config, other in zip(together, alone, strict=True):
        assert files(config) == files(other)
        ours, theirs = scalars(config), scalars(other)
        assert ours.keys() == theirs.keys()
        for tag, points in theirs.items():
            assert [step for step, _ in ours[tag]] == [step for step, _ in points]
            if tag == "train/images_per_second":
                continue
            assert [value for _, value in ours[tag]] == pytest.approx([value for _, value in points], rel=1e-3)
        assert log(config).count("lenet_lab train") == 1
        assert "61,706 parameters" in log(config)
        assert "3 networks together" in log(config)
        assert log(config).count("val loss") == 3
        assert "overall" in log(config)


@pytest.mark.slow
def test_evaluate_reads_the_checkpoints(together: list[Config], tmp_path: Path) -> None:
    folder = together[1]["folder"]
    result = run_command(tmp_path, "evaluate", f"checkpoint={folder}/checkpoints/best.ckpt")
    assert result.status == 0, result.err
    assert result.metrics == {key: value for key, value in metrics(together[1]).items() if key.startswith("test/")}


@pytest.mark.parametrize(
    "changes",
    [
        ["data.batch_size=4", "trainer.limit_train_batches=40", "scheduler=plateau", "scheduler.patience=0"],
        ["optimizer=adamw", "scheduler=cosine", "scheduler.interval=epoch", "logger=none"],
    ],
    ids=["small_batches_and_plateau", "adamw_and_cosine_by_epoch"],
)
def test_networks_with_buffers_and_other_recipes(tmp_path: Path, changes: list[str]) -> None:
    model = {"_target_": "tests.sweeps.test_together.Small"}
    own = OWN if "optimizer=adamw" not in changes else ()
    configs, others = ([], [])
    for number in range(2):
        for found, where in ((configs, "together"), (others, "alone")):
            words = own[number] if own else [f"seed={number}", f"optimizer.lr={0.001 * (number + 1)}"]
            folder = tmp_path / where / str(number)
            folder.mkdir(parents=True)
            found.append({**compose(*COMMON, *changes, *words, folder=str(folder)), "model": model})
    train_together(configs)
    for config in others:
        train.run(config)
    assert "is not trained together" not in log(configs[0])
    assert_same(configs, others)


def test_a_network_that_diverges_disturbs_no_other(alone: list[Config], tmp_path: Path) -> None:
    configs = jobs(tmp_path)
    configs[1] = {**deepcopy(configs[1]), "optimizer": {**configs[1]["optimizer"], "lr": 1e9}, "scheduler": None}
    with pytest.raises(JobsFailedError, match=r"the loss is (nan|inf) at step 2 ") as caught:
        train_together(configs)
    assert list(caught.value.reasons) == [configs[1]["folder"]]
    assert not Path(configs[1]["folder"], "metrics.json").exists()
    assert "error: the loss is" in log(configs[1])
    bad = torch.load(Path(configs[1]["folder"], "bad_batch.pt"), weights_only=True)
    assert (bad["images"].shape, bad["labels"].shape, bad["step"]) == ((64, 1, 32, 32), (64,), 2)
    assert_same([configs[0], configs[2]], [alone[0], alone[2]])


def test_a_network_that_diverges_may_be_trained_to_its_end(alone: list[Config], tmp_path: Path) -> None:
    configs = jobs(tmp_path, "callbacks.finite=null", "trainer.max_epochs=1")
    configs[1] = {**deepcopy(configs[1]), "optimizer": {**configs[1]["optimizer"], "lr": 1e9}, "scheduler": None}
    train_together(configs)
    assert metrics(configs[1])["val/loss"] is None


def test_networks_that_draw_random_numbers_are_trained_one_by_one(tmp_path: Path) -> None:
    model = {"_target_": "tests.sweeps.test_together.Small", "dropout": 0.5}
    configs = jobs(tmp_path / "together", "trainer.max_epochs=1", model=model)[:2]
    others = jobs(tmp_path / "alone", "trainer.max_epochs=1", model=model)[:2]
    returned = train_together(configs)
    for config, other, found in zip(configs, others, returned, strict=True):
        assert "random numbers as it trains (dropout)" in log(config)
        assert log(config).count("overall") == 1
        assert without_seconds(found) == without_seconds(train.run(other))


class Noise(nn.Module):
    """An augmentation that draws from the generators of NumPy and Python, as one of a user's may."""

    def forward(self, images: Tensor) -> Tensor:
        noise = np.random.normal(size=images.shape) + random.random()  # noqa: NPY002 - of the kind that is meant
        return images + 0.1 * torch.from_numpy(noise).float()


def test_augmentation_with_numbers_of_numpy_and_python_is_that_of_training_alone(tmp_path: Path) -> None:
    noise = {"augment": {"noise": {"_target_": "tests.sweeps.test_together.Noise"}}}
    configs, others = (
        [config | noise for config in jobs(tmp_path / where, "data.batch_size=16")[:2]] for where in ("group", "alone")
    )
    train_together(configs)
    for config in others:
        train.run(config)
    assert_same(configs, others)


class Drawn(Digits):
    """A source that chooses with NumPy, which each job has seeded with its own seed."""

    def load(self) -> tuple[ImageSet, ImageSet]:
        train, test = super().load()
        rows = np.random.permutation(len(train))[:500]  # noqa: NPY002
        return replace(train, images=train.images[rows], labels=train.labels[rows]), test


def test_networks_whose_images_are_drawn_are_trained_one_by_one(tmp_path: Path) -> None:
    configs = jobs(tmp_path, "trainer.max_epochs=1")[:2]
    for config in configs:
        config["data"]["_target_"] = "tests.sweeps.test_together.Drawn"
    train_together(configs)
    assert all("the data source draws random numbers" in log(config) for config in configs)


def interrupt(monkeypatch: pytest.MonkeyPatch, configs: list[Config], save: int) -> None:
    """Train, and stop like Ctrl-C when `last.ckpt` is about to be written for the time `save`, from 1."""
    written = 0

    def write(content: Any, path: Path, **options: bool) -> None:
        nonlocal written
        written += path.name == "last.ckpt"
        if written == save:
            raise KeyboardInterrupt
        original(content, path, **options)

    original = checkpoint_io.write_checkpoint
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_io, "write_checkpoint", write)
        patch.setattr(member, "write_checkpoint", write)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train_together(configs) if len(configs) > 1 else train.run(configs[0])


def test_jobs_that_were_cut_off_at_different_epochs_go_on(
    alone: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = jobs(tmp_path)
    interrupt(monkeypatch, configs, save=3 + 2)  # the second epoch of the second of three
    assert [checkpoint(config)["epoch"] for config in configs] == [1, 0, 0]
    train_together(configs)
    assert_same(configs, alone)


def test_a_job_goes_on_alone_or_with_others_however_it_began(
    alone: list[Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configs = jobs(tmp_path)
    interrupt(monkeypatch, configs[:2], save=3)
    train.run(configs[0])
    interrupt(monkeypatch, configs[2:], save=2)
    train_together(configs[1:])
    assert "it has begun by itself" in log(configs[2])
    assert_same(configs, alone)
    assert [metrics(config)["train/steps"] for config in configs] == [66, 66, 66]


@pytest.mark.slow
def test_killed_and_started_again_a_group_ends_with_the_same_results(alone: list[Config], tmp_path: Path) -> None:
    configs = jobs(tmp_path)
    words = [sys.executable, "-m", "lenet_lab.sweeps.work", "lenet_lab.train", *(c["folder"] for c in configs)]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    last = Path(configs[1]["folder"], "checkpoints", "last.ckpt")
    while not last.exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not Path(configs[0]["folder"], "metrics.json").exists()
    again = subprocess.run(words, capture_output=True, text=True, timeout=200)
    assert again.returncode == 0, again.stderr
    assert_same(configs, alone)


def test_groups_hold_jobs_that_differ_in_seed_optimizer_and_schedule(tmp_path: Path) -> None:
    configs = jobs(tmp_path)
    others = [compose(*COMMON, "data.batch_size=8", f"seed={seed}", folder=f"/f/{seed}") for seed in (1, 2)]
    alone = compose(*COMMON, "trainer.devices=2", folder="/f/3")
    mixed = [configs[0], others[0], configs[1], alone, others[1], configs[2]]
    assert groups(mixed, at_most=16) == [[0, 2, 5], [1, 4], [3]]
    assert groups(mixed, at_most=2) == [[0, 2], [1, 4], [3], [5]]
    assert groups(mixed, at_most=1) == [[index] for index in range(6)]
    assert groups([], at_most=4) == []


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("trainer.devices=2", "trainer.devices=2"),
        ("trainer.devices=[0,1]", "trainer.devices=[0, 1]"),
        ("trainer.accelerator=mps", "trainer.accelerator=mps"),
        ("trainer.precision=bf16-true", "trainer.precision=bf16-true"),
        ("trainer.max_steps=10", "trainer.max_steps=10"),
        ("trainer.accumulate_grad_batches=2", "trainer.accumulate_grad_batches=2"),
        ("trainer.gradient_clip_val=1.0", "trainer.gradient_clip_val=1.0"),
        ("+trainer.benchmark=false", "trainer.benchmark=False"),
        ("+callbacks.checkpoint.save_last=true", "callbacks.checkpoint.save_last=True"),
        ("+callbacks.checkpoint.save_top_k=3", "callbacks.checkpoint.save_top_k=3"),
        ("+callbacks.stop._target_=lightning.pytorch.callbacks.EarlyStopping", "callbacks.stop"),
        ("+logger.other._target_=lightning.pytorch.loggers.WandbLogger", "logger.other"),
        ("optimizer._target_=torch.optim.LBFGS", "torch.optim.LBFGS"),
        ("scheduler=plateau scheduler.interval=step", "scheduler.monitor=val/loss"),
        ("loss.label_smoothing=0.1", "only torch.nn.CrossEntropyLoss without label_smoothing is"),
    ],
)
def test_what_keeps_a_job_alone_is_named(override: str, key: str) -> None:
    config = compose(*COMMON, *override.split(), folder="/f/1")
    assert key in why_alone(config)
    assert groups([config, config], at_most=2) == [[0], [1]]


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=[0]",
        "trainer.accelerator=cpu",
        "trainer.limit_val_batches=0.5",
        "callbacks.checkpoint.monitor=val/loss callbacks.checkpoint.mode=min",
        "callbacks.checkpoint=null",
        "logger=csv",
        "scheduler=plateau",
        "optimizer=adamw",
    ],
)
def test_what_does_not_keep_a_job_alone(override: str) -> None:
    configs = [compose(*COMMON, *override.split(), f"seed={seed}", folder=f"/f/{seed}") for seed in (1, 2)]
    assert why_alone(configs[0]) == ""
    assert groups(configs, at_most=2) == [[0, 1]]


def test_grouping_does_not_wait_for_torch() -> None:
    code = "import sys, lenet_lab.sweeps.together; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_says_what_it_expects_to_gain() -> None:
    assert re.match(r"16 networks together: on a CPU about 2\.\d times as fast", expectation(16, 4))
    assert "measured with 4 networks at batch 32" in expectation(15, 5)
    assert "measured with 4 networks at batch 128" in expectation(2, 1000)


def test_only_jobs_of_the_plain_kind_are_put_together() -> None:
    config = compose(*COMMON, folder="/f/1")
    assert why_alone({key: value for key, value in config.items() if key != "optimizer"}) == (
        "only training can be done together"
    )
    assert why_alone(config | {"speed": config["speed"] | {"onednn": False}}) == "speed.onednn=False is not supported"
    twice = config["callbacks"] | {"another": config["callbacks"]["checkpoint"]}
    assert why_alone(config | {"callbacks": twice}) == "callbacks has the same checkpoint twice"


def test_what_a_job_does_not_want_is_left_out(tmp_path: Path) -> None:
    words = ["callbacks.checkpoint=null", "callbacks.last=null", "trainer.check_val_every_n_epoch=2"]
    configs = jobs(tmp_path / "group", *words, "callbacks.dashboard.share=1", "scheduler=constant")[:2]
    others = jobs(tmp_path / "alone", *words, "callbacks.dashboard.share=1", "scheduler=constant")[:2]
    train_together(configs)
    for config, other in zip(configs, others, strict=True):
        train.run(other)
        assert without_seconds(metrics(config)) == pytest.approx(without_seconds(metrics(other)), rel=1e-3)
        assert [row["epoch"] for row in read_curves(Path(config["folder"], "curves.csv"))] == [2]
        assert not list(Path(config["folder"]).rglob("*.ckpt"))


def test_no_batch_is_no_training(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"trainer.limit_train_batches=0.0001 leaves no batch of an epoch to train on"):
        train_together(jobs(tmp_path, "trainer.limit_train_batches=0.0001"))
