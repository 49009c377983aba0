"""`checkpoint=` of a run folder, and `last`: which file or run is meant."""

import os
from pathlib import Path

import pytest

from lab_engine.artifacts.run_folder import hold
from lab_engine.base.errors import UserError
from lab_engine.cli.find_run import find_run
from lenet_lab.evaluate import COMMAND as EVALUATE
from lenet_lab.train import COMMAND as TRAIN
from tests.conftest import Command, Result


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make the folder of this test the current one, and return its `runs/train`."""
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs" / "train"


def make_run(folder: Path, age: int, *files: str) -> None:
    for name in ("config.yaml", *files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    os.utime(folder / "config.yaml", (age, age))


def test_a_run_folder_is_its_best_checkpoint(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(runs / "a", 1, "checkpoints/best.ckpt", "checkpoints/last.ckpt")
    make_run(runs / "b", 2, "checkpoints/last.ckpt")
    make_run(runs / "c", 3)
    best, last = "checkpoint=runs/train/a/checkpoints/best.ckpt", "checkpoint=runs/train/b/checkpoints/last.ckpt"
    assert find_run(EVALUATE, "checkpoint=runs/train/a", []) == best
    assert capsys.readouterr().err == "checkpoint=runs/train/a is runs/train/a/checkpoints/best.ckpt\n"
    assert find_run(EVALUATE, "checkpoint=last", []) == last
    assert find_run(EVALUATE, best, []) == best
    assert find_run(EVALUATE, "checkpoint=runs/train/a,runs/train/b", ["-m"]) == f"{best},{last[11:]}"
    with pytest.raises(UserError, match=r"Give the folder of a run, such as runs/train/a, or a \.ckpt file"):
        find_run(EVALUATE, "checkpoint=runs/train", [])
    (runs.parents[1] / "last").touch()
    assert find_run(EVALUATE, "checkpoint=last", []) == "checkpoint=last"


def test_the_newest_unfinished_run_is_resumed(runs: Path) -> None:
    make_run(runs / "a", 1, "checkpoints/last.ckpt")
    make_run(runs / "b", 2, "metrics.json", "checkpoints/last.ckpt")
    make_run(runs / "sweep" / "0", 3, "checkpoints/last.ckpt")  # a job: which of them is meant, nobody knows
    make_run(runs / "busy", 4, "checkpoints/last.ckpt")
    make_run(runs / "refused", 5)  # there is nothing to resume from
    with hold(runs / "busy"):
        assert find_run(TRAIN, "resume=last", []) == "resume=runs/train/a"
    assert find_run(TRAIN, "from=last", []) == "from=runs/train/b"
    assert find_run(TRAIN, "resume=runs/train/b", []) == "resume=runs/train/b"


def test_evaluate_takes_a_run_folder(command: Command, digits_run: Result, tmp_path: Path) -> None:
    result = command("evaluate", f"checkpoint={digits_run.folder}")
    assert result.status == 0, result.err
    best = digits_run.folder / "checkpoints" / "best.ckpt"
    assert result.err.splitlines()[0] == f"checkpoint={digits_run.folder} is {best}"
    assert f"checkpoint: {best}" in (tmp_path / "run" / "config.yaml").read_text()
