"""`python -m lenet_lab.train`: what it leaves, and that it does what it says."""

import json
import os
import pty
import re
import sys
import termios
from pathlib import Path

import pytest
import torch
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests import forked
from tests.conftest import SMALL, Command, Result, run_command, write_images

MEASURED = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "count")


def test_the_quick_start_reaches_95_percent(digits_run: Result) -> None:
    assert digits_run.metrics["test/accuracy"] >= 0.95
    assert digits_run.metrics["test/count"] == 359


def test_leaves_exactly_what_the_readme_lists(digits_run: Result) -> None:
    left = sorted(
        str(path.relative_to(digits_run.folder)) for path in digits_run.folder.rglob("*") if "events" not in path.name
    )
    left = [name for name in left if name != "changes.patch"]  # of a checkout that is being worked on
    assert left == [
        ".lock",
        "checkpoints",
        "checkpoints/best.ckpt",
        "checkpoints/last.ckpt",
        "checkpoints/last.previous.ckpt",
        "config.yaml",
        "curves.csv",
        "environment.json",
        "metrics.json",
        "report.html",
        "task.json",
        "tensorboard",
        "tensorboard/hparams.yaml",
        "train.log",
    ]


def test_metrics_are_flat_and_agree_with_each_other(digits_run: Result) -> None:
    metrics = digits_run.metrics
    classes = [str(digit) for digit in range(10)]
    for stage in ("val", "test"):
        per_class = [metrics[f"{stage}/accuracy/{name}"] for name in classes]
        assert all(0 <= value <= 1 for value in per_class)
        # the classes have not quite as many images each, so the mean of all is not that of the classes
        assert metrics[f"{stage}/accuracy"] == pytest.approx(sum(per_class) / 10, abs=0.02)
    assert set(metrics) == {
        f"{stage}/{name}" for stage in ("val", "test") for name in (*MEASURED, *(f"accuracy/{c}" for c in classes))
    } | {"train/seconds", "train/steps"}


def test_the_configuration_is_kept_resolved(digits_run: Result) -> None:
    config = yaml.safe_load((digits_run.folder / "config.yaml").read_text())
    assert config["data"]["_target_"] == "lenet_lab.data.digits.Digits"
    assert config["scheduler"]["max_lr"] == config["optimizer"]["lr"]
    assert "${" not in (digits_run.folder / "config.yaml").read_text()


def test_says_the_same_on_the_terminal_and_in_the_log(digits_run: Result) -> None:
    assert (digits_run.folder / "train.log").read_text() == digits_run.out
    for words in ("61,706 parameters", "run folder", "overall", "tensorboard --logdir", "epoch 1/"):
        assert words in digits_run.out
    assert "\x1b" not in digits_run.out  # plain lines where there is no terminal
    assert digits_run.err == ""  # no warning of anybody's


def test_curves_are_in_tensorboard(digits_run: Result) -> None:
    events = EventAccumulator(str(digits_run.folder / "tensorboard")).Reload()
    tags = events.Tags()["scalars"]
    assert {"train/loss", "val/loss", "val/accuracy", "val/accuracy/7"} <= set(tags)
    losses = [event.value for event in events.Scalars("train/loss")]
    assert losses[-1] < losses[0] / 5


def test_checkpoints_hold_only_tensors_and_plain_data(digits_run: Result) -> None:
    for name in ("best", "last"):
        checkpoint = torch.load(digits_run.folder / "checkpoints" / f"{name}.ckpt", weights_only=True)
        assert all(key.startswith("network.") for key in checkpoint["state_dict"])
        assert sum(tensor.numel() for tensor in checkpoint["state_dict"].values()) == 61_706
        assert json.loads(json.dumps(checkpoint["run"])) == checkpoint["run"]


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights_and_another_seed_others(tmp_path: Path) -> None:
    weights = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        folder = tmp_path / name
        result = run_command(
            tmp_path, "train", *SMALL, "augment=flip_shift", f"seed={seed}", f"hydra.run.dir={folder}", "logger=none"
        )
        assert result.status == 0, result.err
        weights.append(torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"])
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
    assert not any(torch.equal(weights[0][key], weights[2][key]) for key in weights[0])


@pytest.mark.slow
def test_a_tree_with_another_number_of_channels_sizes_and_classes(command: Command, image_tree: Path) -> None:
    result = command(
        "train",
        "data=image_folder",
        f"data.root={image_tree}",
        "data.channels=1",
        "data.image_size=[20,24]",
        "data.resize=pad",
        "model.hidden=[30,20]",
        "optimizer=adamw",
        "scheduler=cosine",
        "augment=flip_shift",
        "logger=csv",
        "trainer.max_epochs=15",
    )
    assert result.status == 0, result.err
    assert "3 classes, 1x20x24, 114 train, 6 validation, 50 test images" in result.out
    assert result.metrics["test/count"] == 50
    assert result.metrics["test/accuracy"] > 0.9
    assert {"test/accuracy/ant", "test/accuracy/bee", "test/accuracy/cow"} <= set(result.metrics)
    columns = (result.folder / "csv" / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"epoch", "step", "val/accuracy/ant", "best/val/accuracy"} <= set(columns)


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-true"])
def test_gradients_can_be_accumulated_and_numbers_shorter(command: Command, precision: str) -> None:
    result = command(
        "train",
        *SMALL,
        "data.batch_size=8",
        "trainer.accumulate_grad_batches=4",
        "trainer.log_every_n_steps=10",
        f"trainer.precision={precision}",
    )
    assert result.status == 0, result.err
    assert "8 samples x 1 device x 4 accumulated = 32 samples per step" in result.out
    assert re.search(r"epoch 1/1  .* 43 steps, ", result.out)  # of 171 batches
    again = command("evaluate", f"checkpoint={result.folder}/checkpoints/best.ckpt", "hydra.run.dir=again")
    assert again.metrics["test/accuracy"] == result.metrics["test/accuracy"]
    assert precision in again.out


@pytest.mark.slow
def test_bad_files_are_counted_in_the_header(command: Command, tmp_path: Path) -> None:
    for label, name in enumerate(["a b", "ü"]):
        write_images(tmp_path / "my images" / name, 10, label)
    (tmp_path / "my images" / "ü" / "bad.png").touch()
    result = command("train", "data=image_folder", "data.root=my images", "data.on_bad_file=skip", "debug=one_batch")
    assert result.status == 0, result.err
    assert "1 file (no image, or cannot be decoded)" in result.out
    assert "bad.png" in result.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("debug", "leaves"), [("one_batch", "metrics.json"), ("overfit", "metrics.json"), ("profiler", "fit-profile.txt")]
)
def test_ways_to_debug(command: Command, debug: str, leaves: str) -> None:
    result = command("train", "data=digits", "data.batch_size=16", "optimizer.lr=0.02", f"debug={debug}")
    assert result.status == 0, result.err
    assert (result.folder / leaves).stat().st_size > 0
    if debug == "one_batch":
        assert result.metrics["train/steps"] == 1
    if debug == "overfit":
        losses = [float(loss) for loss in re.findall(r"train loss ([0-9.e-]+)", result.out)]
        assert len(losses) == 100
        assert losses[-1] < 0.01


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["plateau", "one_cycle"])
def test_every_scheduler_trains(command: Command, scheduler: str) -> None:
    result = command(
        "train",
        *SMALL,
        f"scheduler={scheduler}",
        "trainer.max_epochs=2",
        "callbacks.checkpoint=null",
        "callbacks.last=null",
    )
    assert result.status == 0, result.err
    assert not (result.folder / "checkpoints").exists()
    assert "evaluate" not in result.out


@pytest.mark.slow
def test_a_terminal_gets_a_bar_and_colours(tmp_path: Path) -> None:
    main, other = pty.openpty()
    termios.tcsetwinsize(other, (24, 60))
    process = forked.Popen(
        [sys.executable, "-m", "lenet_lab.train", *SMALL, "data.batch_size=2", "hydra.run.dir=run"],
        cwd=tmp_path,
        env={**os.environ, "TERM": "xterm-256color", "LENET_LAB_CACHE": "cache"},
        stdout=other,
        stderr=other,
    )
    os.close(other)
    shown = b""
    try:
        while chunk := os.read(main, 65536):
            shown += chunk
    except OSError:  # the terminal's other end is closed
        pass
    os.close(main)
    assert process.wait(60) == 0, shown.decode()
    text = shown.decode()
    assert re.search(r"epoch 1/1 .*\d+%  \d:\d\d:\d\d left", re.sub(r"\x1b\[[0-9;]*m", "", text))
    assert "\x1b[1m" in text
    log = (tmp_path / "run" / "train.log").read_text()
    assert "\x1b" not in log
    assert " left" not in log
    assert log.count("epoch 1/1") == 1


@pytest.mark.slow
def test_learns_real_cifar10_images(command: Command, real_images: Path, real_images_cache: Path) -> None:
    """Half of the tutorial's first epoch; docs/user_guide/results.md has the figures of the whole."""
    result = command(
        "train",
        "data=image_folder",
        f"data.root={real_images}",
        f"data.cache={real_images_cache}",
        "trainer.max_epochs=1",
        "trainer.limit_train_batches=0.5",
    )
    assert result.status == 0, result.err
    assert "62,006 parameters" in result.out
    assert "47,500 train, 2,500 validation, 10,000 test images" in result.out
    assert result.metrics["test/count"] == 10_000
    assert result.metrics["test/accuracy"] > 0.35
