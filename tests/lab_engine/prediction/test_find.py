"""Which files are meant, and how their names are written."""

import io
import os
import sys
from pathlib import Path

import pytest
from PIL import Image

from lab_engine.base.errors import UserError
from lab_engine.prediction.find import find_images, shown


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as people have them; the test stands above it."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "my [photos]"
    for name in ("b.png", "a.jpg", "deep/c.PNG", "deep/.d.png", ".hidden/e.png", "*.png", "deep/Thumbs.db", "none"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    Image.new("L", (2, 2)).save(folder / "image.odd", "PNG")
    (folder / "deep" / "loop").symlink_to(folder)
    (folder / "itself").symlink_to("itself")
    (folder / "link.png").symlink_to("b.png")
    os.mkfifo(folder / "pipe")
    return folder


def found(folder: Path, given: str | list[str]) -> list[str]:
    return [os.path.relpath(file, folder) for file in find_images(given)[0] if isinstance(file, str)]


def test_a_folder_stands_for_all_images_below(photos: Path) -> None:
    assert found(photos, str(photos)) == ["*.png", "a.jpg", "b.png", "deep/c.PNG", "image.odd", "link.png"]


def test_files_of_another_kind_are_told_apart_unless_they_are_named(photos: Path) -> None:
    assert find_images([str(photos), str(photos / "*")])[1] == [
        str(photos / name) for name in ("none", "itself", "pipe")
    ]
    images, others = find_images([str(photos), str(photos / "none")])
    assert (images[-1], others) == (str(photos / "none"), [])


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("?.png", ["*.png", "b.png"]),
        ("[ab].*", ["a.jpg", "b.png"]),
        ("**/*.[Pp][Nn][Gg]", ["*.png", "b.png", "deep/c.PNG", "link.png"]),
        ("**/.*.png", ["deep/.d.png"]),
        ("*", ["*.png", "a.jpg", "b.png", "deep/c.PNG", "image.odd", "link.png"]),
        ("*.png", ["*.png"]),  # a name that exists is no pattern
    ],
)
def test_patterns_are_those_of_a_shell(photos: Path, pattern: str, files: list[str]) -> None:
    assert found(photos, str(photos / pattern)) == files


def test_a_list_keeps_its_order_and_names_each_file_once(photos: Path) -> None:
    given = [str(photos / name) for name in ("none", "deep", "deep/c.PNG", "a.jpg")]
    assert found(photos, given) == ["none", "deep/c.PNG", "a.jpg"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("nowhere.png", "there is no such file or folder"),
        ("nowhere/*.png", "leads to no files"),
        ("my [photos]/x*", r"images=my \[photos\]/x\* leads to no files"),
        ("my [photos]/n*", r"images=my \[photos\]/n\* leads to no image among 1 file\."),
        ("**.png", r"is refused: Invalid pattern"),
    ],
)
def test_what_leads_nowhere_is_named(photos: Path, given: str, message: str) -> None:
    if given == "**.png" and not _strict_patterns():
        pytest.skip("this Python takes ** within a name for *")
    with pytest.raises(UserError, match=message):
        find_images([str(photos), str(Path(given).absolute())])


def _strict_patterns() -> bool:
    try:
        list(Path().glob("**.png"))
    except ValueError:
        return True
    return False


def test_names_are_written_so_that_nothing_obeys_them(photos: Path) -> None:
    assert shown(str(photos / "ü 日本.png")) == "my [photos]/ü 日本.png"
    assert shown(os.fsdecode(b"/x/caf\xe9.png")) == r"/x/caf\xe9.png"
    assert shown("a\x1b[31m\nb") == r"a\x1b[31m\nb"
    assert shown(b"content") == "standard input"


class Piped(io.TextIOWrapper):
    """Standard input with something in it."""

    def __init__(self, content: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(content))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


@pytest.mark.parametrize(
    ("piped", "message"),
    [
        (None, "reads standard input, but nothing is piped to it"),
        (Piped(b"", terminal=True), "reads standard input, but nothing is piped to it"),
        (Piped(b" \n"), "standard input is empty"),
        (Piped(b"neither\x1b[2J\nnor\n"), r"holds neither a readable image .*\nIt begins with: neither\\x1b"),
    ],
    ids=["closed", "terminal", "empty", "text"],
)
def test_standard_input_that_holds_nothing_is_named(
    piped: Piped | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", piped)
    with pytest.raises(UserError, match=message):
        find_images("-")


def test_standard_input_may_hold_paths(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", Piped(b"my [photos]/b.png\0my [photos]/a.jpg\0"))
    assert found(photos, "-") == ["b.png", "a.jpg"]
