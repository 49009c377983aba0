import os
from pathlib import Path

import pytest

from lenet_lab.whole_file import new_file, whole, write_whole
from tests.conftest import PowerCutError


def test_what_is_written_stands_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    write_whole(file, "é\r\n1\n")
    assert file.read_bytes() == b"\xc3\xa9\r\n1\n"
    assert list(tmp_path.iterdir()) == [file]


def test_what_was_there_stays_until_all_is_written(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("old")
    with whole(file) as stream:
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
        with whole(file) as stream:
            stream.write("half")
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_processes_that_write_at_once_do_not_meet(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    with whole(file) as stream:
        stream.write("parent")
        if not (child := os.fork()):
            try:
                write_whole(file, "child")
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        assert file.read_text() == "child"
    assert file.read_text() == "parent"


def test_half_a_character_of_a_strange_path_is_refused_or_replaced(tmp_path: Path) -> None:
    for write in (lambda: write_whole(tmp_path / "notes.txt", "\udce9"), lambda: whole_half(tmp_path / "notes.txt")):
        with pytest.raises(UnicodeEncodeError):
            write()
    assert not list(tmp_path.iterdir())
    write_whole(tmp_path / "notes.txt", "a\udce9", errors="replace")
    assert (tmp_path / "notes.txt").read_text() == "a?"


def whole_half(file: Path) -> None:
    with whole(file) as stream:
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
            write_whole(file, "all of it", new=True)
    assert not list(tmp_path.iterdir())
    if not links:
        monkeypatch.setattr(Path, "hardlink_to", refuse)
    write_whole(file, "all of it", new=True)
    with pytest.raises(FileExistsError) as refused:
        write_whole(file, "another", new=True)
    assert refused.value.filename == str(file)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["all of it"]
    assert file.stat().st_nlink == 1
