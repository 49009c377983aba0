import os
import socket
import stat
from pathlib import Path

import pytest

from lab_engine.base.atomic_write import atomic_write, name_beside, new_file, open_atomic, remove_beside
from tests.conftest import PowerCutError


def test_what_is_written_stands_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    atomic_write(file, "é\r\n1\n")
    assert file.read_bytes() == b"\xc3\xa9\r\n1\n"
    atomic_write(file, b"\xff\r\n")
    assert file.read_bytes() == b"\xff\r\n"
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("old")
    with open_atomic(file) as stream:
        stream.write("n")
        stream.flush()
        assert file.read_text() == "old"
        assert len(list(tmp_path.iterdir())) == 2
        stream.write("ew")
    assert file.read_text() == "new"


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("old")

    def write() -> None:
        with open_atomic(file) as stream:
            stream.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_processes_that_write_at_once_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    with open_atomic(file) as stream:
        stream.write("parent")
        if not (child := os.fork()):
            try:
                atomic_write(file, "child")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert file.read_text() == "child"
    assert file.read_text() == "parent"


def test_half_a_character_of_a_strange_path_is_refused_or_replaced(tmp_path: Path) -> None:
    for write in (lambda: atomic_write(tmp_path / "notes.txt", "\udce9"), lambda: whole_half(tmp_path / "notes.txt")):
        with pytest.raises(UnicodeEncodeError):
            write()
    assert not list(tmp_path.iterdir())
    atomic_write(tmp_path / "notes.txt", "a\udce9", errors="replace")
    assert (tmp_path / "notes.txt").read_text() == "a?"


def whole_half(file: Path) -> None:
    with open_atomic(file) as stream:
        stream.write("\udce9")


def test_a_new_file_appears_whole(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    with new_file(file) as unfinished:
        unfinished.write_text("new")
        assert unfinished.name == file.name
        assert unfinished.stat().st_dev == tmp_path.stat().st_dev
        assert tmp_path in unfinished.parents
        assert not file.exists()
        assert all(path.name.startswith(".model.onnx.") for path in tmp_path.iterdir())
    assert [path.read_text() for path in tmp_path.iterdir()] == ["new"]


def test_what_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"

    def write() -> None:
        with new_file(file) as unfinished:
            unfinished.write_text("new")
            file.write_text("mine")

    with pytest.raises(FileExistsError):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_is_not_to_be_overwritten_is_there_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(self: Path, target: Path) -> None:
        raise PermissionError("no links here")

    def cut(self: Path, target: Path) -> None:
        assert target.read_text() == "all of it"
        raise PowerCutError

    file = tmp_path / "config.yaml"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "hardlink_to", cut)
        with pytest.raises(PowerCutError):
            atomic_write(file, "all of it", new=True)
    assert not list(tmp_path.iterdir())
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    atomic_write(file, "all of it", new=True)
    with pytest.raises(FileExistsError) as refused:
        atomic_write(file, "another", new=True)
    assert refused.value.filename == str(file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["all of it"]
    assert file.stat().st_nlink == 1


def test_permissions_are_those_of_any_new_file(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        atomic_write(tmp_path / "notes.txt", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "notes.txt").stat().st_mode) == 0o640


@pytest.mark.parametrize("kind", ["symlink", "hard link"])
def test_a_link_of_a_stranger_is_never_written_through(tmp_path: Path, kind: str) -> None:
    outside, file = tmp_path / "precious", tmp_path / "run" / "results.csv"
    outside.write_text("precious")
    file.parent.mkdir()
    guessed = file.with_name(f".{file.name}.{socket.gethostname()}.{os.getpid()}")
    for path in (guessed, guessed.with_name(f"{guessed.name}.part"), name_beside(file), file):
        (path.symlink_to if kind == "symlink" else path.hardlink_to)(outside)
    atomic_write(file, "results")
    assert file.read_text() == "results"
    assert file.stat().st_nlink == 1
    assert outside.read_text() == "precious"


def test_a_name_that_was_guessed_after_all_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside, file = tmp_path / "precious", tmp_path / "results.csv"
    outside.write_text("precious")
    guessed = name_beside(file)
    guessed.symlink_to(outside)
    monkeypatch.setattr("lab_engine.base.atomic_write.name_beside", lambda _: guessed)
    with pytest.raises(FileExistsError) as refused:
        atomic_write(file, "results")
    assert refused.value.filename == str(file)
    assert outside.read_text() == "precious"
    assert guessed.is_symlink()


def test_only_files_and_links_of_the_right_names_are_removed(tmp_path: Path) -> None:
    outside, file = tmp_path / "precious", tmp_path / "run" / "a[b]*.csv"
    outside.write_text("precious")
    file.parent.mkdir()
    name_beside(file).write_text("half")
    name_beside(file).symlink_to(outside)
    name_beside(file).symlink_to(tmp_path)
    folder, other = name_beside(file), name_beside(file.with_name("ab.csv"))
    folder.mkdir()
    other.write_text("other")
    remove_beside(file)
    assert sorted(file.parent.iterdir()) == sorted([folder, other])
    assert outside.read_text() == "precious"
