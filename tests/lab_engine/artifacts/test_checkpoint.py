import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lab_engine.artifacts.checkpoint import (
    CheckpointMetadata,
    latest_checkpoint,
    load_weights,
    metadata_of,
    previous,
    read_checkpoint,
    read_metadata,
    recover_latest_checkpoint,
    steps_of,
)
from lab_engine.artifacts.checkpoint_io import write_checkpoint
from lab_engine.base.errors import UserError

RUN = {
    "format": 2,
    "choices": {"task": "classification", "data": "digits", "model": "lenet"},
    "words": ["model=lenet", "augment=[flip,shift]"],
    "values": {"task": {}, "data": {}, "model": {}},
    "facts": {"classes": ["a", "b"], "num_classes": 2},
    "precision": "32-true",
}
WEIGHT = torch.arange(1000.0)


def write(folder: Path, step: int = 1, run: Any = RUN, **more: Any) -> Path:
    """Write what a run would, as far as it is looked at here."""
    file = folder / "checkpoints" / "last.ckpt"
    content = {"state_dict": {"network.weight": WEIGHT}, "global_step": step, "run": run, **more}
    write_checkpoint(content, file, keep_previous=True)
    return file


def two(folder: Path) -> Path:
    """Two checkpoints as a run leaves them; gives the newer."""
    write(folder, 1)
    return write(folder, 2)


def cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def turn_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    place = content.index(WEIGHT[500:510].numpy().tobytes())
    content[place] ^= 1
    file.write_bytes(content)


def test_a_run_says_of_itself_what_its_task_and_data_are() -> None:
    config = {
        "choices": {"model": "lenet", "data": "cifar10", "task": "mine"},
        "words": ["model=lenet"],
        "task": {"_target_": "x", "takes": ["model"], "monitor": "val/loss"},
        "model": {"_target_": "lenet_lab.models.lenet.LeNet", "hidden": [3, 4]},
        "data": {"_target_": "x", "takes": ["augment", "seed"], "share": 0.1, "mirrors": ["http://x"], "cache": "/x"},
        "augment": {"flip": {"_target_": "x", "often": 0.5}, "none": None},
        "optimizer": {"_target_": "nobody takes it"},
        "seed": 3,
        "trainer": {"precision": "bf16-mixed"},
    }
    assert metadata_of(config, {"image_size": (3, 4)}) == {
        "format": 2,
        "choices": config["choices"],
        "words": ["model=lenet"],
        "values": {
            "task": {"monitor": "val/loss"},
            "data": {"share": 0.1},
            "model": {"hidden": [3, 4]},
            "augment": {"flip": {"often": 0.5}, "none": None},
        },
        "facts": {"image_size": [3, 4]},
        "precision": "bf16-mixed",
    }


def test_what_it_says_is_read_back(tmp_path: Path) -> None:
    file = write(tmp_path, 7)
    assert read_metadata(file) == CheckpointMetadata(**RUN)
    assert steps_of(file) == 7
    assert read_checkpoint(file)["state_dict"]["network.weight"].equal(WEIGHT)


def test_a_file_is_read_once_for_each_version_of_it(tmp_path: Path) -> None:
    file = write(tmp_path, 1)
    first = read_checkpoint(file)
    assert read_checkpoint(file) is first
    write(tmp_path, 2)
    second = read_checkpoint(file)
    assert second["global_step"] == 2
    before = file.stat()
    while file.stat().st_ctime_ns == before.st_ctime_ns:  # that clock ticks now and then only
        file.write_bytes(file.read_bytes())
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))  # as `cp -p` does
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    assert read_checkpoint(file) is not second


def test_weights_are_put_into_the_task(tmp_path: Path) -> None:
    task = nn.ModuleDict({"network": nn.ParameterDict({"weight": torch.zeros(1000)})})
    file = write(tmp_path)
    load_weights(task, file)
    assert task["network"]["weight"].equal(WEIGHT)
    with pytest.raises(UserError, match=r"last.ckpt does not fit this network: size mismatch .*weight: .*\nGive the"):
        load_weights(nn.ModuleDict({"network": nn.Linear(2, 2, bias=False)}), file)


def nested(levels: int) -> Any:
    """A list in a list, and so on."""
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def values(**given: Any) -> dict[str, Any]:
    return RUN | {"values": {"model": given}}


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (values(_target_="os.system"), r"names code to run \(_target_=os.system\), and was not used\."),
        (values(hidden=[{"_partial_": True}]), r"names code to run \(_partial_=True\)"),
        (values(hidden={1: 2}), r"names code to run \(1=2\)"),
        (values(hidden="${oc.env:HOME}"), r"holds an interpolation \(\$\{oc.env:HOME\}\), and was not used\."),
        (values(hidden=torch.ones(())), "holds a Tensor among its settings, and was not used"),
        (values(hidden=nested(20)), "holds more settings than a network can have, and was not used"),
        (values(hidden=[0] * 100_000), "holds more settings than a network can have"),
        (RUN | {"values": {"data": {"_x": 1}}}, "names code to run"),
        (RUN | {"facts": {"_x": 1}}, "names code to run"),
        (RUN | {"choices": {"model": "../b"}}, "is not a checkpoint of this program"),
        (RUN | {"words": ["model.hidden=${oc.env:HOME}"]}, "is not a checkpoint of this program"),
        (RUN | {"words": ["hydra.run.dir=x"]}, "is not a checkpoint of this program"),
        (RUN | {"format": 1}, "was written by another version of this program"),
        (RUN | {"facts": "ab"}, "is not a checkpoint of this program"),
        (None, "is not a checkpoint of this program"),
    ],
    ids=lambda value: value[:30] if isinstance(value, str) else "",
)
def test_what_is_not_plain_data_is_refused(tmp_path: Path, run: Any, message: str) -> None:
    file = write(tmp_path, run=run)
    with pytest.raises(UserError, match=message) as caught:
        read_checkpoint(file)
    assert str(caught.value).startswith(f"checkpoint={file} ")
    assert str(caught.value).count("\n") <= 1


def test_settings_may_be_deep_and_many(tmp_path: Path) -> None:
    given = {"hidden": nested(19), "more": [0] * 90_000, "text": "${", "none": None, "share": 0.5, "on": True}
    with pytest.raises(UserError, match="interpolation"):
        read_checkpoint(write(tmp_path, run=values(**given)))
    given["text"] = "$HOME"
    assert read_metadata(write(tmp_path, run=values(**given))).values["model"] == given


def test_what_is_no_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"checkpoint={tmp_path} is a folder\. .* {tmp_path}/checkpoints/best.ckpt\."):
        read_checkpoint(tmp_path)
    with pytest.raises(UserError, match=r"checkpoint=.*nowhere.ckpt: there is no such file"):
        read_checkpoint(tmp_path / "nowhere.ckpt")
    (tmp_path / "text.ckpt").write_text("text")
    with pytest.raises(UserError, match=r"checkpoint=.*text.ckpt is not a checkpoint of this program, or holds more"):
        read_checkpoint(tmp_path / "text.ckpt")


@pytest.mark.parametrize("damage", [cut_in_half, turn_a_bit, lambda file: file.write_bytes(b""), Path.unlink])
def test_the_checkpoint_before_takes_the_place_of_a_damaged_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], Any]
) -> None:
    file = two(tmp_path)
    assert latest_checkpoint(tmp_path) == recover_latest_checkpoint(tmp_path) == file
    damage(file)
    assert latest_checkpoint(tmp_path) == file.with_name("last.previous.ckpt")
    assert not caplog.records
    assert recover_latest_checkpoint(tmp_path) == file.with_name("last.previous.ckpt")
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(file) in record.message
    assert record.message.endswith("The previous checkpoint is used instead.")
    assert (file.with_name("last.damaged.ckpt").exists(), file.exists()) == (damage is not Path.unlink, False)


@pytest.mark.parametrize("damage", [cut_in_half, turn_a_bit])
def test_where_none_is_whole_nothing_is_moved(tmp_path: Path, damage: Callable[[Path], Any]) -> None:
    file = two(tmp_path)
    for each in (file, previous(file)):
        damage(each)
    for find in (latest_checkpoint, recover_latest_checkpoint):
        with pytest.raises(
            UserError, match=r"cannot be resumed: .*\nTo train from the start, remove last.ckpt and last.previous.ckpt "
        ):
            find(tmp_path)
    assert sorted(path.name for path in file.parent.iterdir()) == ["last.ckpt", "last.previous.ckpt"]
    file.unlink()
    with pytest.raises(
        UserError, match=r"cannot be resumed: .*\nTo train from the start, remove last.previous.ckpt from its check"
    ):
        latest_checkpoint(tmp_path)


def test_a_first_checkpoint_that_is_damaged_is_told(tmp_path: Path) -> None:
    turn_a_bit(write(tmp_path))
    with pytest.raises(
        UserError,
        match=r"cannot be resumed: .*last.ckpt is damaged: .*not used.\nTo train from the start, remove last.ckpt from",
    ):
        latest_checkpoint(tmp_path)


def test_a_run_without_a_checkpoint_begins(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert latest_checkpoint(tmp_path) is recover_latest_checkpoint(tmp_path) is None
    assert not caplog.records
