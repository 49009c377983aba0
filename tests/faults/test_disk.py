"""Disks that are full, or may only be read: real ones, in memory."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.conftest import Command, Result, write_images
from tests.faults.conftest import Disk
from tests.faults.trouble import fill, overrides
from tests.lab_engine.sweeps.conftest import run_sweep

RUN = ["data=digits", "data.batch_size=64", "optimizer.lr=0.05", "trainer.max_epochs=3"]
MakeDisk = Callable[[float], Disk]


def only_lines(result: Result, *parts: str) -> None:
    """See to it that an error of the user's was said in a line or two."""
    assert result.status == 2, result.err
    lines = result.err.splitlines()
    assert 1 <= len(lines) <= 2, result.err
    assert lines[0].startswith("error: ")
    for part in parts:
        assert part in result.err


@pytest.mark.parametrize(
    ("hook", "left", "more"),
    [
        ("on_train_epoch_end", 100_000, "callbacks.dashboard=null"),  # less than a checkpoint
        ("on_train_epoch_start", 0, "logger=none"),  # not even a line of the log
        ("on_validation_start", 10_000, "callbacks.dashboard.share=1"),  # less than TensorBoard's pictures
    ],
)
def test_a_full_disk_ends_a_run_and_what_was_saved_stays(
    command: Command, disk: MakeDisk, hook: str, left: int, more: str
) -> None:
    small = disk(20)
    folder = small.folder / "run"
    result = command("train", *RUN, more, f"hydra.run.dir={folder}", *overrides("FullDisk", hook=hook, left=left))
    only_lines(result, str(folder), "No space left on device", "check its free space")
    for name in ("best.ckpt", "last.ckpt"):
        assert torch.load(folder / "checkpoints" / name, weights_only=True)["epoch"] == 0
    assert not (folder / "metrics.json").exists()


def test_a_job_goes_on_once_there_is_room(disk: MakeDisk, tmp_path: Path) -> None:
    small = disk(20)
    words = [*RUN, "callbacks.dashboard=null", "logger=none"]
    fill(small.folder / "filler", left=700_000)  # for one checkpoint of two
    sweep = run_sweep(tmp_path, *words, f"hydra.sweep.dir={small.folder}/sweep")
    assert sweep.states == {"0": "failed"}
    assert "No space left on device" in sweep.jobs["0"].reason
    (small.folder / "filler").unlink()
    again = run_sweep(tmp_path, *words, f"hydra.sweep.dir={small.folder}/sweep")
    assert again.states == {"0": "done"}
    assert again.metrics() == run_sweep(tmp_path, *words).metrics()


def test_no_room_to_decode(command: Command, disk: MakeDisk, tmp_path: Path) -> None:
    for label, name in enumerate("ab"):
        write_images(tmp_path / "images" / name, 20, label)
    small = disk(1)
    fill(small.folder / "filler", left=20_000)
    words = ["data=image_folder", f"data.root={tmp_path}/images", "data.validation=0.3", "debug=one_batch"]
    result = command("train", *words, f"data.cache={small.folder}/cache")
    only_lines(result, f"{small.folder}/cache", "No space left on device", "data.cache=DIR")
    assert not result.folder.exists()
    assert [path.name for path in (small.folder / "cache").iterdir() if path.is_dir()] == []
    (small.folder / "filler").unlink()
    assert command("train", *words, f"data.cache={small.folder}/cache").status == 0


def test_folders_that_may_only_be_read(command: Command, disk: MakeDisk, tmp_path: Path) -> None:
    """Images may lie in one; a cache and a run cannot begin there, and a cache that has the images may."""
    only_read = disk(4)
    for label, name in enumerate("ab"):
        write_images(only_read.folder / "images" / name, 20, label)
    words = ["data=image_folder", f"data.root={only_read.folder}/images", "data.validation=0.3", "debug=one_batch"]
    done = command("train", *words, f"data.cache={only_read.folder}/cache", "hydra.run.dir=made")
    assert done.status == 0, done.err
    shutil.copytree(done.folder, only_read.folder / "run")
    only_read.make_read_only()
    assert command("train", *words, f"data.cache={only_read.folder}/cache", "hydra.run.dir=cached").status == 0
    assert command("train", *words, "hydra.run.dir=decoded").status == 0
    only_lines(
        command("train", *words, f"data.cache={only_read.folder}/other"), f"{only_read.folder}/other", "Read-only"
    )
    run = command("train", *words, f"hydra.run.dir={only_read.folder}/new")
    only_lines(run, f"{only_read.folder}/new", "Read-only file system", "Choose another folder")
    checkpoint = only_read.folder / "run" / "checkpoints" / "best.ckpt"
    measured = command("evaluate", f"checkpoint={checkpoint}", words[1], "hydra.run.dir=evaluated")
    assert measured.status == 0, measured.err
    assert measured.metrics["test/count"] == 8
