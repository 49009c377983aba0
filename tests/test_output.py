"""A run whose output nobody reads any more."""

import subprocess
import sys
from pathlib import Path

from tests.conftest import SMALL, environment_in


def test_training_goes_on_when_the_reader_has_gone(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenet_lab.train", *SMALL, "report=false", "hydra.run.dir=run"]
    run = subprocess.Popen(
        words, cwd=tmp_path, env=environment_in(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    assert run.stdout.readline() == "lenet_lab train\n"
    run.stdout.close()
    assert run.wait(timeout=50) == 0, run.stderr.read() if run.stderr else ""
    log = (tmp_path / "run" / "train.log").read_text()
    assert "Nobody reads the output any more: the run goes on, and this log has the rest." in log
    assert "epoch 1/1" in log
    assert (tmp_path / "run" / "metrics.json").exists()
