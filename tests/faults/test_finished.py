"""Nothing that a finished run has left is ever changed by a later command."""

import hashlib
import shutil
from pathlib import Path

import pytest

from tests.conftest import SMALL, Command, Result


@pytest.fixture
def finished(digits_run: Result, tmp_path: Path) -> Path:
    shutil.copytree(digits_run.folder, tmp_path / "run")
    return tmp_path / "run"


def content(folder: Path) -> dict[str, tuple[str, int]]:
    """Of each file what is in it, and when it was written."""
    return {
        str(file.relative_to(folder)): (hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns)
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not file.name.startswith(".")
    }


@pytest.mark.parametrize(
    ("module", "words"),
    [
        ("train", SMALL),
        ("train", ["-m", *SMALL, "seed=1,2", "hydra.sweep.dir=run"]),
        ("evaluate", ["checkpoint=run/checkpoints/best.ckpt"]),
        ("export", ["checkpoint=run/checkpoints/best.ckpt", "format=torch"]),
        ("predict", ["checkpoint=run/checkpoints/best.ckpt", "images=picture.png"]),
    ],
    ids=["train", "sweep", "evaluate", "export", "predict"],
)
def test_a_command_in_its_folder_is_refused(
    command: Command, finished: Path, tmp_path: Path, module: str, words: list[str]
) -> None:
    from PIL import Image

    Image.new("L", (32, 32)).save(tmp_path / "picture.png")
    before = content(finished)
    result = command(module, *words, "hydra.run.dir=run")
    assert result.status == 2
    assert result.err.startswith("error: ")
    assert len(result.err.splitlines()) <= 2
    assert content(finished) == before


def test_a_file_in_the_way_of_an_export_is_kept(command: Command, finished: Path) -> None:
    before = content(finished)
    words = ["checkpoint=run/checkpoints/best.ckpt", "format=torch", "file=run/checkpoints/last.ckpt"]
    result = command("export", *words, "hydra.run.dir=other")
    assert result.status == 2
    assert content(finished) == before
