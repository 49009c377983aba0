"""`train from=RUN_FOLDER`: the same again, and what is said where it is not."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lab_engine.artifacts.run_folder import in_folder
from lab_engine.base.errors import UserError
from lab_engine.cli.recorded_runs import _new_folder
from lab_engine.config.command import read_config
from lab_engine.reports.comparison import compare, comparison_lines, refuse_unreadable
from lenet_lab.train import COMMAND
from tests.conftest import SMALL, Command, Result

QUICK = (*SMALL, "logger=none", "report=false", "seed=7", "augment=flip_shift")
NEW = ("-u",)
"""Options of Python: a command with one is not forked, so it has another seed of hashes and nothing of another run."""


@pytest.mark.slow
def test_a_run_comes_to_the_same_again(command: Command, tmp_path: Path) -> None:
    first = command("train", *QUICK)
    assert first.status == 0, first.err
    again = command("train", f"from={first.folder}", "hydra.run.dir=again", options=NEW)
    assert again.status == 0, again.err
    assert "the same   as run: the weights of best.ckpt bit for bit, and all metrics" in again.out
    assert again.out == (again.folder / "train.log").read_text()
    comparison = json.loads((again.folder / "comparison.json").read_text())
    assert (comparison["same"], comparison["of"], comparison["weights"]) == (True, str(first.folder), 10)
    assert read_config(again.folder) == {**in_folder(read_config(first.folder), again.folder), "threads": 1}

    metrics = first.metrics | {"test/accuracy": 0.5}
    (first.folder / "metrics.json").write_text(json.dumps(metrics))
    other = command("train", f"from={first.folder}", "hydra.run.dir=other")
    assert other.status == 1
    assert "not the same as run:\n  test/accuracy: 0.5, now 0." in other.out
    assert "nothing that is recorded differs" in other.out
    assert other.err == ""

    taken = command("train", f"from={first.folder}", "hydra.run.dir=again")
    assert taken.status == 2
    assert "holds a run already" in taken.err


@pytest.mark.slow
def test_two_devices_muon_one_cycle_and_augmentation_come_to_the_same_again(command: Command) -> None:
    more = ("trainer.devices=2", "optimizer=muon", "scheduler=one_cycle", "augment=[flip,shift,cutout,colour]")
    first = command("train", *QUICK, *more)
    assert first.status == 0, first.err
    again = command("train", f"from={first.folder}", "hydra.run.dir=again", options=NEW)
    assert again.status == 0, again.err
    assert "the same   as run" in again.out


def test_what_differs_and_could_explain_it_is_told(digits_run: Result, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(digits_run.folder, other)
    assert compare(digits_run.folder, other).same
    checkpoint = torch.load(other / "checkpoints" / "best.ckpt", weights_only=True)
    checkpoint["state_dict"]["network.conv1.bias"][0] += 0.5
    torch.save(checkpoint, other / "checkpoints" / "best.ckpt")
    environment = json.loads((other / "environment.json").read_text())
    environment["versions"]["torch"] = "1.0"
    environment["started"] = "2000-01-01T00:00:00+00:00"
    (other / "environment.json").write_text(json.dumps(environment))
    (other / "changes.patch").write_text("+ 1")
    comparison = compare(digits_run.folder, other)
    assert (comparison.same, comparison.different, comparison.metrics) == (False, ["network.conv1.bias"], {})
    assert comparison.largest == pytest.approx(0.5)
    assert comparison.causes["versions.torch"] == (torch.__version__, "1.0")
    assert set(comparison.causes) == {"versions.torch", "uncommitted changes"}
    said = "\n".join(line.plain for line in comparison_lines(comparison, other))
    assert "weights: 1 of 10 tensors differ, by 0.5 at most" in said
    assert f"versions.torch: {torch.__version__}, now 1.0" in said


def test_signs_of_zero_and_what_is_no_number_are_compared_bit_for_bit(digits_run: Result, tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder, value in zip(folders, (0.0, -0.0), strict=True):
        shutil.copytree(digits_run.folder, folder)
        checkpoint = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
        checkpoint["state_dict"]["network.conv1.bias"][0] = value
        checkpoint["state_dict"]["network.conv2.bias"][0] = torch.nan
        torch.save(checkpoint, folder / "checkpoints" / "best.ckpt")
    assert compare(*folders).different == ["network.conv1.bias"]


def test_runs_without_checkpoints_are_compared_by_their_metrics(tmp_path: Path) -> None:
    folders = tmp_path / "a", tmp_path / "b"
    for folder, seconds in zip(folders, (1.0, 2.0), strict=True):
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"test/loss": None, "train/seconds": seconds}))
    comparison = compare(*folders)
    assert (comparison.same, comparison.weights) == (True, None)
    assert comparison_lines(comparison, folders[1])[0].plain.endswith("a: all metrics")


def test_a_repetition_gets_a_folder_as_a_new_run_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert _new_folder(COMMAND, ()).parent == tmp_path / "runs" / "train"
    assert _new_folder(COMMAND, ("hydra.run.dir=a/${hydra.job.name}",)) == tmp_path / "a" / "train"


def test_what_gives_nothing_to_compare_with_is_refused(command: Command, digits_run: Result, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(digits_run.folder, run)
    shown = command("train", f"from={run}", "--cfg", "job", "hydra.run.dir=there")
    assert shown.status == 0, shown.err
    assert f"folder: {tmp_path}/there" in shown.out
    assert not (tmp_path / "there").exists()

    (run / "metrics.json").write_text("[]")
    refused = command("train", f"from={run}", "hydra.run.dir=there")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert f"{run}/metrics.json does not hold the metrics of a run" in refused.err
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises(UserError, match=r"there is no checkpoints/best.ckpt to compare with\. Restore the file\."):
        refuse_unreadable(run, weights=True)
    (run / "metrics.json").unlink()
    refused = command("train", f"from={run}", "hydra.run.dir=there")
    assert f"from={run} is a run that is not done" in refused.err
    assert refused.err.endswith(f"resume={run}\n")
    assert not (tmp_path / "there").exists()


def test_a_repetition_that_cannot_begin_leaves_no_folder(command: Command, digits_run: Result, tmp_path: Path) -> None:
    run = tmp_path / "first"
    shutil.copytree(digits_run.folder, run)
    (tmp_path / "file").touch()
    refused = command("train", f"from={run}", "hydra.run.dir=file/there")
    assert (refused.status, refused.err.count("\n")) == (2, 1)
    assert f"hydra.run.dir={tmp_path}/file/there cannot be made: Not a directory" in refused.err

    config = read_config(run)
    config["augment"]["shift"]["pixels"] = 1000  # which shows only when there are images
    (run / "config.yaml").write_text(OmegaConf.to_yaml(config))
    refused = command("train", f"from={run}", "hydra.run.dir=new/there")
    assert (refused.status, refused.err.count("\n")) == (2, 2)
    assert refused.err.startswith("error: augment.shift ")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "cache") == ["file", "first"]
