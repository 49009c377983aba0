"""What a terminal shows of a run, and a run whose output nobody reads any more."""

import os
import pty
import re
import sys
from contextlib import suppress
from pathlib import Path

from tests import forked
from tests.conftest import SMALL, environment_in


def test_the_line_of_an_epoch_fits_a_terminal_of_80_columns(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenet_lab.train", *SMALL, "report=false", "hydra.run.dir=run"]
    ours, theirs = pty.openpty()
    settings = {"TERM": "xterm", "COLUMNS": "80"}
    with forked.Popen(words, cwd=tmp_path, env=environment_in(tmp_path) | settings, stdout=theirs) as run:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # which is how a terminal ends
            while more := os.read(ours, 4096):
                shown += more
    os.close(ours)
    assert run.returncode == 0
    reached = re.search(
        r"epoch 1/1  train loss [\d.]+, accuracy [\d.]+%  val loss [\d.]+, accuracy [\d.]+%", shown.decode()
    )
    assert reached
    assert reached[0] + "\r\n" in shown.decode()
    assert f"{reached[0]}  43 steps, " in (tmp_path / "run" / "train.log").read_text()


def test_training_goes_on_when_the_reader_has_gone(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenet_lab.train", *SMALL, "report=false", "hydra.run.dir=run"]
    ours, theirs = os.pipe()
    run = forked.Popen(words, cwd=tmp_path, env=environment_in(tmp_path), stdout=theirs)
    os.close(theirs)
    assert os.read(ours, 9) == b"lenet_lab"
    os.close(ours)
    assert run.wait(timeout=50) == 0
    log = (tmp_path / "run" / "train.log").read_text()
    assert "The reader of the output has exited. The run continues; the rest is in this log." in log
    assert "epoch 1/1" in log
    assert (tmp_path / "run" / "metrics.json").exists()
