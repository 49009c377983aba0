"""What a run says it was done with."""

import json
import os
import shlex
import subprocess
from pathlib import Path
from unittest.mock import Mock

import pytest
import torch

from lab_engine.artifacts import this_environment
from lab_engine.artifacts.environment import Git, read_environment
from lab_engine.artifacts.this_environment import git_state, record_environment
from lab_engine.base.git import uncommitted_patch
from lab_engine.config.command_line import COMMAND_VARIABLE, without_passwords
from lab_engine.sweeps.job import Record, command_of, write_record
from tests.conftest import Result

CPU = torch.device("cpu")
SETTLED = {"trainer": {"precision": "bf16-mixed"}, "speed": {"memory_format": "channels_last", "compile": None}}


@pytest.fixture(autouse=True)
def _git_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take longer than a user should wait."""
    monkeypatch.setattr(this_environment, "SECONDS_FOR_GIT", 60.0)


def git(folder: Path, *words: str) -> str:
    own = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    names = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", *names, *words], cwd=folder, env=own, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "code"
    (folder / "src").mkdir(parents=True)
    (folder / "src" / "a.py").touch()
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", ".")
    git(folder, "commit", "-q", "-m", "a")
    return folder


def test_the_quick_start_tells_versions_machine_and_command(digits_run: Result) -> None:
    told = json.loads((digits_run.folder / "environment.json").read_text())
    assert told["versions"]["torch"] == torch.__version__
    assert {"python", "torch", "torchvision", "lightning", "hydra-core", "lenet_lab", "numpy", "pillow"} <= set(
        told["versions"]
    )
    assert len(told["data"]) == 64
    assert told["threads"] == 1
    assert shlex.split(told["command"])[1:] == [
        *("-m", "lenet_lab.train", "experiment=digits", f"hydra.run.dir={digits_run.folder}")
    ]
    assert (told["device"], told["gpus"]) == ("cpu", [])
    assert 1 <= told["cores"] <= (os.cpu_count() or 1)
    assert told["memory_gb"] > 0.1
    assert told["cpu"]
    assert told["precision"] == "32-true"
    assert told["speed"]["memory_format"] == "contiguous"
    assert told["git"]["commit"] or told["git"]["reason"]


def test_git_is_asked_for_the_commit_and_for_changes(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook
    found = git_state(checkout / "src")
    assert (found.commit, found.branch, found.dirty) == (git(checkout, "rev-parse", "HEAD"), "main", False)
    (checkout / "new.py").touch()
    assert git_state(checkout / "src").dirty
    git(checkout, "checkout", "-q", "--detach")
    assert git_state(checkout / "src").branch is None


def test_what_git_cannot_tell_is_said(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path))
    (tmp_path / "plain").mkdir()
    assert "not a git repository" in git_state(tmp_path / "plain").reason
    (checkout / "src" / "conf").mkdir()
    assert "installed" in git_state(checkout / "src").reason
    git(tmp_path / "plain", "init", "-q")
    assert "nothing is committed" in git_state(tmp_path / "plain").reason

    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 5\n")
    slow.chmod(0o755)
    monkeypatch.setattr(this_environment, "SECONDS_FOR_GIT", 0.1)
    monkeypatch.setenv("PATH", str(slow.parent), prepend=os.pathsep)
    assert git_state(checkout).reason == "git took more than 0.1 s"
    monkeypatch.setenv("PATH", str(tmp_path / "plain"))
    assert git_state(checkout).reason == "git is not installed"
    slow.chmod(0o644)
    monkeypatch.setenv("PATH", str(slow.parent))
    assert git_state(checkout).commit is None


def test_the_first_environment_of_a_run_stays(tmp_path: Path) -> None:
    record_environment(tmp_path, "lenet_lab", CPU, SETTLED)
    first = (tmp_path / "environment.json").read_bytes()
    written = read_environment(tmp_path)
    assert written is not None
    assert (written.precision, written.speed["memory_format"]) == ("bf16-mixed", "channels_last")
    record_environment(tmp_path, "lenet_lab", torch.device("meta"), SETTLED)
    assert (tmp_path / "environment.json").read_bytes() == first


def test_changes_are_not_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(this_environment, "git_state", lambda _: Git(commit="a", branch=None, dirty=True))
    monkeypatch.setattr(this_environment, "uncommitted_patch", lambda *_: b"+ \xff\r\n")
    outside, folder = tmp_path / "precious", tmp_path / "run"
    outside.write_text("precious")
    folder.mkdir()
    (folder / "changes.patch").symlink_to(outside)
    record_environment(folder, "lenet_lab", CPU, SETTLED)
    assert (folder / "changes.patch").read_bytes() == b"+ \xff\r\n"
    assert outside.read_text() == "precious"


def test_a_run_that_goes_on_with_other_versions_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record_environment(tmp_path, "lenet_lab", CPU, SETTLED)
    file = tmp_path / "environment.json"
    before = json.loads(file.read_text())
    file.write_text(json.dumps(before | {"versions": before["versions"] | {"torch": "1.0"}}))
    record_environment(tmp_path, "lenet_lab", CPU, SETTLED)
    expected = "Changed since the run started: versions. See environment.2.json."
    assert [record.message for record in caplog.records] == [expected]
    assert json.loads((tmp_path / "environment.2.json").read_text())["versions"] == before["versions"]


@pytest.mark.parametrize("content", [b"", b"{}", b'{"started": 1, "command": []}', b"\xff"])
def test_a_damaged_file_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "environment.json").write_bytes(content)
    assert read_environment(tmp_path) is None


def test_a_job_of_a_sweep_tells_the_command_that_would_do_it_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_record(tmp_path, Record(3, ["optimizer.lr=0.1", "+note='a b'"]))
    monkeypatch.setenv(COMMAND_VARIABLE, command_of(tmp_path, "lenet_lab.train"))  # as a worker does
    record_environment(tmp_path, "lenet_lab", CPU, SETTLED)
    told = read_environment(tmp_path)
    assert told is not None
    assert shlex.split(told.command) == ["python", "-m", "lenet_lab.train", "optimizer.lr=0.1", "+note='a b'"]


def test_what_is_not_committed_can_be_had_again(checkout: Path, tmp_path: Path) -> None:
    (checkout / ".gitignore").write_text("ignored\n")
    (checkout / "src" / "a.py").write_text("url = 'https://me:secret@host'\n")
    (checkout / "new ü.py").write_text("print()\n")
    (checkout / "binary").write_bytes(b"\0\1\2")
    (checkout / "ignored").write_text("private")
    (checkout / "data").write_bytes(bytes(200_000))
    before = (checkout / ".git" / "index").read_bytes()
    patch = uncommitted_patch(checkout / "src", 60)
    assert (checkout / ".git" / "index").read_bytes() == before
    assert patch.startswith(b"# left out, large or not text: binary and 1 more\n")
    assert b"secret" not in patch
    assert "https://me:…@host".encode() in patch
    assert b"private" not in patch

    (tmp_path / "changes.patch").write_bytes(patch)
    git(tmp_path, "clone", "-q", str(checkout), "clone")
    git(tmp_path / "clone", "apply", "../changes.patch")
    for name in ("new ü.py", ".gitignore"):
        assert (tmp_path / "clone" / name).read_bytes() == (checkout / name).read_bytes()


def test_a_patch_that_would_be_too_large_is_cut_between_files(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab_engine.base.git.MAX_BYTES", 300)
    (checkout / "b.py").write_text("small\n")
    (checkout / "src" / "a.py").write_text("large\n" * 100)
    patch = uncommitted_patch(checkout, 60).decode()
    assert patch.startswith("# left out, no room: a/src/a.py b/src/a.py\n")
    assert "+small" in patch
    assert "+large" not in patch
    late = subprocess.TimeoutExpired("git", 60)
    monkeypatch.setattr("lab_engine.base.git.subprocess.run", Mock(side_effect=late))
    assert uncommitted_patch(checkout, 60) == b""


def test_passwords_in_addresses_are_left_out() -> None:
    assert without_passwords("m=[https://me:se:cret@host/x,http://a/b:c@d]") == "m=[https://me:…@host/x,http://a/b:c@d]"


def test_a_command_line_that_is_not_utf8_fails_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.orig_argv", ["/bin/python3", "-m", "lenet_lab.train", "data.root=\udcff"])
    record_environment(tmp_path, "lenet_lab", CPU, SETTLED)
    told = read_environment(tmp_path)
    assert told is not None
    assert told.command == "python3 -m lenet_lab.train 'data.root=?'"
