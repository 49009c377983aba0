"""Files that a wrong input needs."""

import json
import os
from pathlib import Path

import torch
from PIL import Image

from tests.conftest import write_images


def a_file(folder: Path) -> None:
    (folder / "file").write_text("here already")


def a_run(folder: Path) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "config.yaml").write_text("mine")


def a_lock(folder: Path) -> None:
    (folder / "run" / ".lock").touch()


def own_option(text: str, name: str = "optimizer/mine.yaml") -> object:
    """An option in a folder of the user's own, conf."""

    def files(folder: Path) -> None:
        file = folder / "conf" / name
        file.parent.mkdir(parents=True)
        file.write_text(text)

    return files


def images(*names: str, count: int = 4) -> object:
    """A tree of images of these classes, such as "train/ant"."""

    def files(folder: Path) -> None:
        for number, name in enumerate(names):
            write_images(folder / "images" / name, count, number % 4)

    return files


def and_(first: object, *more: object) -> object:
    def files(folder: Path) -> None:
        for each in (first, *more):
            each(folder)  # type: ignore[operator]

    return files


def add(name: str, content: bytes = b"") -> object:
    """A file in images/; a name that ends in / is an empty folder."""

    def files(folder: Path) -> None:
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.endswith("/"):
            path.mkdir()
        else:
            path.write_bytes(content)

    return files


def bomb(folder: Path) -> None:
    """A few kilobytes that unpack to 225 million pixels."""
    Image.new("1", (15_000, 15_000)).save(folder / "images" / "ant" / "bomb.png")


def one_image(folder: Path) -> None:
    for name in ("0001.png", "0002.png", "0003.png"):
        (folder / "images" / "bee" / name).unlink()


def a_loop(folder: Path) -> None:
    (folder / "images").symlink_to(folder / "images")


def a_pipe(folder: Path) -> None:
    (folder / "images" / "ant").mkdir(parents=True)
    os.mkfifo(folder / "images" / "ant" / "0.png")


def only_odd_files(folder: Path) -> None:
    """A class in which nothing can be read: a pipe, a link to itself and one to nowhere, a hidden file."""
    a_pipe(folder)
    write_images(folder / "images" / "bee", 4, 1)
    (folder / "images" / "ant" / "loop.png").symlink_to("loop.png")
    (folder / "images" / "ant" / "lost.png").symlink_to("nowhere.png")
    (folder / "images" / "ant" / ".hidden.png").touch()


def pickle_of(content: object) -> object:
    def files(folder: Path) -> None:
        torch.save(content, folder / "file.ckpt")

    return files


def checkpoint(content: bytes) -> object:
    def files(folder: Path) -> None:
        (folder / "file.ckpt").write_bytes(content)

    return files


def a_sweep(record: str) -> object:
    """A sweep with one job that is done, and what its job.json says."""

    def files(folder: Path) -> None:
        job = folder / "sweep" / "0"
        job.mkdir(parents=True)
        (job / "config.yaml").write_text("seed: 1")
        (job / "job.json").write_text(record)

    return files


def done(folder: Path) -> None:
    a_sweep(json.dumps({"number": 0, "overrides": ["seed=1"], "state": "done", "attempts": []}))(folder)  # type: ignore[operator]
    (folder / "sweep" / "0" / "metrics.json").write_text('{"val/accuracy": 0.5, "val/loss": 1.0, "test/accuracy": 0.4}')
