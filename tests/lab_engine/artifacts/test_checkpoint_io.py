import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lab_engine.artifacts import checkpoint_io
from lab_engine.artifacts.checkpoint_io import KEEP_PREVIOUS, AtomicCheckpointIO, write_checkpoint
from lab_engine.base.atomic_write import name_beside
from tests.conftest import PowerCutError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints" / "last.ckpt"


def content(file: Path) -> Any:
    return torch.load(file, weights_only=True)


def names(file: Path) -> list[str]:
    return sorted(path.name for path in file.parent.iterdir())


def test_is_written_whole_and_folders_are_made(file: Path) -> None:
    write_checkpoint({"weight": torch.arange(3)}, file)
    assert content(file)["weight"].tolist() == [0, 1, 2]
    assert names(file) == ["last.ckpt"]
    write_checkpoint({"step": 2}, file)
    assert content(file) == {"step": 2}
    assert names(file) == ["last.ckpt"]


def test_the_one_before_is_kept_where_that_is_asked_for(file: Path) -> None:
    for step in (1, 2, 3):
        write_checkpoint({"step": step}, file, keep_previous=True)
    assert [content(file.with_name(name))["step"] for name in names(file)] == [3, 2]
    assert names(file) == ["last.ckpt", "last.previous.ckpt"]
    write_checkpoint({"step": 4}, file)
    assert [content(file.with_name(name))["step"] for name in names(file)] == [4, 2]


def test_lightning_writes_in_this_way(file: Path) -> None:
    plugin = AtomicCheckpointIO(file.parents[1])
    plugin.save_checkpoint({"step": 1}, str(file))
    plugin.save_checkpoint({"step": 2}, file)
    assert names(file) == ["last.ckpt"]
    plugin.save_checkpoint({"step": 3}, file, storage_options=KEEP_PREVIOUS)
    assert [content(file.with_name(name))["step"] for name in names(file)] == [3, 2]


def test_only_what_lies_below_the_run_folder_is_removed(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run, outside = tmp_path / "run", tmp_path / "outside"
    for folder in (run / "sharded", run / "checkpoints", outside):
        folder.mkdir(parents=True)
        (folder / "a.ckpt").write_text("precious")
    (run / "linked").symlink_to(outside)
    (run / "linked.ckpt").symlink_to(outside / "a.ckpt")
    (run / "sharded" / "linked").symlink_to(outside)
    monkeypatch.chdir(tmp_path)
    plugin = AtomicCheckpointIO("run")
    for inside in (run / "linked", run / "linked.ckpt", run / "nothing.ckpt"):
        plugin.remove_checkpoint(inside)
    assert caplog.text == ""
    kept = ("..", ".", "checkpoints/..", "linked/a.ckpt", "../outside/a.ckpt", outside, f"local://{outside}")
    for each in kept:
        plugin.remove_checkpoint(each if "outside" in str(each) else f"{run}/{each}")
    plugin.remove_checkpoint("ftp://localhost:9/a.ckpt")
    assert caplog.text.count("lies outside the run folder, and is not removed") == len(kept) + 1
    assert len(list(run.iterdir())) == 4
    assert (outside / "a.ckpt").read_text() == "precious"
    plugin.remove_checkpoint(str(run / "checkpoints" / "a.ckpt"))
    plugin.remove_checkpoint("run/sharded")
    assert sorted(path.name for path in run.rglob("*")) == ["checkpoints", "linked", "linked.ckpt"]
    assert (outside / "a.ckpt").read_text() == "precious"


class Cut:
    """Ends the write after part of the file."""

    def __reduce__(self) -> Any:
        raise PowerCutError


def test_a_write_that_fails_leaves_the_two_before(file: Path) -> None:
    for step in (1, 2):
        write_checkpoint({"step": step}, file, keep_previous=True)
    with pytest.raises(PowerCutError):
        write_checkpoint({"weight": torch.zeros(1000), "cut": Cut()}, file, keep_previous=True)
    assert [content(file.with_name(name))["step"] for name in names(file)] == [2, 1]


@pytest.mark.parametrize("cut", ["fsync", "link", "rename"])
def test_there_is_one_whenever_it_ends(file: Path, monkeypatch: pytest.MonkeyPatch, cut: str) -> None:
    """Before the new one is on the disk, before the old one has its second name, and before it gives up the first."""
    for step in (1, 2):
        write_checkpoint({"step": step}, file, keep_previous=True)

    replace = Path.replace

    def end(*arguments: Any) -> None:
        raise PowerCutError

    def end_at_the_last(self: Path, target: Path) -> Path:
        return end() if target == file else replace(self, target)

    place = {"fsync": (os, "fsync", end), "link": (checkpoint_io, "_link", end)}
    monkeypatch.setattr(*place.get(cut, (Path, "replace", end_at_the_last)))
    with pytest.raises(PowerCutError):
        write_checkpoint({"step": 3}, file, keep_previous=True)
    monkeypatch.undo()
    assert content(file) == {"step": 2}
    assert content(file.with_name("last.previous.ckpt")) == {"step": 2 if cut == "rename" else 1}
    write_checkpoint({"step": 4}, file, keep_previous=True)
    assert [content(file.with_name(name))["step"] for name in names(file)] == [4, 2]


def test_all_is_on_the_disk_before_it_has_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes, then the name, then the folder that holds the name."""
    done = list[tuple[str, str]]()
    fsync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        done.append(("synced", path.name))
        if path.is_file():
            assert content(path) == {"step": 1}
        fsync(descriptor)

    def renamed(self: Path, target: Path) -> Path:
        done.append(("renamed", target.name))
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", renamed)
    write_checkpoint({"step": 1}, file)
    first, *rest = done
    assert first[0] == "synced"
    assert first[1].startswith(".last.ckpt.")
    assert rest == [("renamed", "last.ckpt"), ("synced", "checkpoints")]


def test_a_folder_that_cannot_be_synced_is_no_failure(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: Any, flags: int, *mode: int) -> int:
        if Path(path).is_dir():
            raise PermissionError
        return opened(path, flags, *mode)

    monkeypatch.setattr(os, "open", refuse)
    write_checkpoint({"step": 1}, file)
    assert content(file) == {"step": 1}


def test_a_disk_that_cannot_link_keeps_the_one_before_as_well(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    for step in (1, 2, 3):
        write_checkpoint({"step": step}, file, keep_previous=True)
    assert [content(file.with_name(name))["step"] for name in names(file)] == [3, 2]


def test_what_a_killed_process_has_left_is_removed(file: Path) -> None:
    file.parent.mkdir()
    previous, best = file.with_name("last.previous.ckpt"), file.with_name("best.ckpt")
    for path in (name_beside(file), name_beside(previous)):
        path.write_text("half")
    mine = [name_beside(best), file.with_name(".last.ckpt.mine.part"), file.with_name("notes.part")]
    for path in mine:
        path.write_text("mine")
    for step in (1, 2):
        write_checkpoint({"step": step}, file, keep_previous=True)
    assert names(file) == sorted([*(path.name for path in mine), file.name, previous.name])


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_a_link_of_a_stranger_leads_nowhere(file: Path, tmp_path: Path, kind: str) -> None:
    outside = tmp_path / "precious"
    outside.write_text("precious")
    file.parent.mkdir()
    previous = file.with_name("last.previous.ckpt")
    host = f"{socket.gethostname()}.{os.getpid()}"
    guessed = [file.with_name(name) for name in (f".last.ckpt.{host}.part", ".last.previous.ckpt.part")]
    for path in (*guessed, name_beside(file), name_beside(previous), file, previous):
        (path.symlink_to if kind == "symlink" else path.hardlink_to)(outside)
    for step in (1, 2):
        write_checkpoint({"step": step}, file, keep_previous=True)
    assert outside.read_text() == "precious"
    assert outside.stat().st_nlink == (1 if kind == "symlink" else 3)
    assert names(file) == sorted([*(path.name for path in guessed), file.name, previous.name])
    assert [content(path) for path in (file, previous)] == [{"step": 2}, {"step": 1}]


def test_tensors_come_back_as_they_were(file: Path) -> None:
    weights: dict[str, Tensor] = {"a": torch.randn(3, 4).t(), "b": torch.tensor(float("nan"))}
    write_checkpoint(weights, file)
    found = content(file)
    assert found["a"].equal(weights["a"])
    assert found["b"].isnan()
