"""Commands to paste have the form by which the program was started."""

import os
import shlex
from pathlib import Path

import pytest

from lab_engine.base.program import SCRIPT_VARIABLE, command_for


def executable(file: Path) -> str:
    file.parent.mkdir(exist_ok=True)
    file.touch(mode=0o755)
    return str(file)


def test_a_command_is_written_as_it_was_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script, python = executable(tmp_path / "bin" / "my-lab"), executable(tmp_path / "bin" / "python")
    monkeypatch.setattr("sys.executable", python)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]]))
    monkeypatch.delenv(SCRIPT_VARIABLE, raising=False)
    assert command_for("my_lab.train", ["note='a b'"]) == "python -m my_lab.train 'note='\"'\"'a b'\"'\"''"
    monkeypatch.setenv(SCRIPT_VARIABLE, script)
    assert command_for("my_lab.train", ["seed=1"], "own options") == "my-lab train '--config-dir=own options' seed=1"


def test_a_program_that_path_does_not_find_is_written_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = executable(tmp_path / "my folder" / "my-lab")
    monkeypatch.setenv(SCRIPT_VARIABLE, script)
    assert shlex.split(command_for("my_lab.train", ["seed=1"])) == [script, "train", "seed=1"]
    assert command_for("my_lab.train", ["seed=1"], recorded=True) == "my-lab train seed=1"
    monkeypatch.chdir(tmp_path)
    assert command_for("my_lab.train") == "'my folder/my-lab' train"
