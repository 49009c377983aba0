"""Short forms and folders become the words that Hydra reads and a run records."""

import json
import shlex
from pathlib import Path

import pytest

from lab_engine.config.written_out import write_out
from lenet_lab.compose import compose
from lenet_lab.train import COMMAND
from tests.conftest import Command


def written(*words: str) -> list[str]:
    return [word for word, _ in write_out(COMMAND, words)]


@pytest.mark.parametrize(
    ("word", "long"),
    [
        ("epochs=5", "trainer.max_epochs=5"),
        ("lr=0.01,0.1", "optimizer.lr=0.01,0.1"),
        ("batch_size=8", "data.batch_size=8"),
        ("devices=[0,2]", "trainer.devices=[0,2]"),
        *((word, word) for word in ("epochs", "+lr=1", "data.lr=1", "data=digits", "data=[a,b]", "data=evaluate/x.y")),
    ],
)
def test_a_short_form_is_written_out(word: str, long: str) -> None:
    if word == "data=evaluate/x.y":  # an option in a folder of a group that Hydra finds elsewhere
        assert written("hydra.searchpath=[pkg://x]", word)[1:] == [long]
    else:
        assert written(word) == [long]


def test_a_folder_is_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("photos", "digits", "a b, c"):
        (tmp_path / name).mkdir()
    folder = "data=image_folder"
    assert written("data=photos") == [folder, "data.root=photos"]
    assert written("data=./digits") == [folder, "data.root=./digits"]
    assert written("data=digits") == ["data=digits"]  # an option of this name comes first
    assert written(f"data={tmp_path}") == [folder, f"data.root={tmp_path}"]
    assert written("data=a b, c") == [folder, "data.root='a b, c'"]
    assert compose("data=~/photos")["data"]["root"] == str(tmp_path / "photos")
    (tmp_path / "own" / "data").mkdir(parents=True)
    (tmp_path / "own" / "data" / "photos.yaml").touch()
    assert written("--config-dir", "own", "data=photos")[2:] == ["data=photos"]


def test_the_last_word_of_a_key_counts() -> None:
    config = compose("lr=0.5", "optimizer.lr=0.25", "trainer.max_epochs=7", "epochs=9")
    assert (config["optimizer"]["lr"], config["trainer"]["max_epochs"]) == (0.25, 9)


def test_the_long_form_is_recorded(command: Command, image_tree: Path, tmp_path: Path) -> None:
    done = command("train", "-m", f"data={image_tree}", "epochs=1", "lr=0.1,0.2", "hydra.sweep.dir=sweep")
    assert done.status == 0, done.err
    recorded = json.loads((tmp_path / "sweep" / "1" / "job.json").read_text())["overrides"]
    assert recorded == ["data=image_folder", f"data.root={image_tree}", "trainer.max_epochs=1", "optimizer.lr=0.2"]
    started = json.loads((tmp_path / "sweep" / "1" / "environment.json").read_text())["command"]
    assert shlex.split(started)[3:] == recorded
