"""`python scripts/soak`: what it compares, and what it writes. Its long parts are run by hand."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch

from tests.conftest import Result

SOAK = Path(__file__).parents[2] / "scripts" / "soak"


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(SOAK))
    import runs  # type: ignore[import-not-found]

    yield runs
    del sys.modules["runs"]


def test_runs_are_compared_in_all_that_they_leave(runs: ModuleType, digits_run: Result, tmp_path: Path) -> None:
    def change_weights(run: Path) -> None:
        checkpoint = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
        checkpoint["state_dict"]["network.fc3.bias"][0] += 1e-6
        torch.save(checkpoint, run / "checkpoints" / "last.ckpt")

    def change_metrics(run: Path) -> None:
        metrics = json.loads((run / "metrics.json").read_text())
        (run / "metrics.json").write_text(json.dumps({**metrics, "train/seconds": 1e9, "train/steps": 1}))

    changes = {
        "weights": change_weights,
        "metrics": change_metrics,
        "curves": lambda run: (run / "curves.csv").write_text(""),
        "tensorboard": lambda run: [file.unlink() for file in (run / "tensorboard").glob("events*")],
    }
    for name, change in {"nothing": lambda run: None, **changes}.items():
        shutil.copytree(digits_run.folder, tmp_path / name)
        change(tmp_path / name)
        assert bool(runs.differences(tmp_path / name, digits_run.folder)) == (name != "nothing"), name


@pytest.mark.slow
@pytest.mark.long
def test_a_part_leaves_figures_and_a_table(tmp_path: Path) -> None:
    words = [sys.executable, str(SOAK), "thousand_jobs", "--out", str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    part = json.loads((tmp_path / "soak.json").read_text())["parts"]["thousand_jobs"]
    assert part["failures"] == []
    assert part["facts"]["seconds"] > 0
    assert "| 1,000 finished jobs are reported in seconds |" in (tmp_path / "soak.md").read_text()


def test_an_unknown_part_is_refused(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, str(SOAK), "rain"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no part rain" in done.stderr
