"""Standard streams in any encoding, closed, or on a full disk."""

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SMALL, Command, environment_in
from tests.forked import Popen, run


def test_other_encodings_get_plain_characters(command: Command) -> None:
    result = command("train", *SMALL, "report=false", PYTHONIOENCODING="ascii")
    assert result.status == 0, result.err
    assert "overall" in result.out
    assert "\u2500" in (result.folder / "train.log").read_text(encoding="utf-8")
    shown = command("anatomy", "in_channels=1", PYTHONIOENCODING="ascii")
    assert (shown.status, shown.err) == (0, "")
    assert "(32 - 5 + 2" in shown.out


FULL = pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")


@pytest.mark.parametrize(
    ("stream", "words", "status"),
    [
        *(("stdout", words, 2) for words in ((), ("train", "--help"), ("anatomy",))),
        *(("stderr", words, 0) for words in ((), ("train", "--help"))),
    ],
)
@FULL
def test_the_stream_is_named_when_it_cannot_be_written(
    stream: str, words: tuple[str, ...], status: int, tmp_path: Path
) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        settings: dict[str, Any] = {"cwd": tmp_path, "env": environment_in(tmp_path), stream: full}
        done = run([sys.executable, "-m", "lenet_lab", *words], **settings)
    assert done.returncode == status, done.stderr
    cure = "Choose another place, or check its free space and permissions."
    assert (done.stderr or "") == (f"error: standard output: No space left on device. {cure}\n" if status else "")


@pytest.mark.parametrize("words", ["", "train --help"])
def test_a_stream_that_is_closed_is_no_error(words: str, tmp_path: Path) -> None:
    line = f"exec {sys.executable} -m lenet_lab {words} >&-"
    done = run(["/bin/sh", "-c", line], cwd=tmp_path, env=environment_in(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


@FULL
def test_a_run_goes_on_without_its_output(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "lenet_lab.train", *SMALL, "hydra.run.dir=run"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        process = Popen(words, cwd=tmp_path, env=environment_in(tmp_path), stdout=full)
        assert process.wait(100) == 0
    assert (tmp_path / "run" / "metrics.json").exists()
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.startswith(f"Standard output: {os.strerror(28)}. The run continues; the rest is in this log.\n")
