"""A run whose output nobody reads any more."""

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import SMALL, environment_in


def test_training_goes_on_when_the_reader_has_gone(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenet_lab.train", *SMALL, "report=false", "hydra.run.dir=run"]
    ours, theirs = os.pipe()
    run = subprocess.Popen(words, cwd=tmp_path, env=environment_in(tmp_path), stdout=theirs)
    os.close(theirs)
    assert os.read(ours, 9) == b"lenet_lab"
    os.close(ours)
    assert run.wait(timeout=50) == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert "The reader of the output has exited. The run continues; the rest is in this log." in log
    assert "epoch 1/1" in log
    assert (tmp_path / "run" / "metrics.json").exists()
