"""Every kind of run leaves its report, one, of all of it; and none fails for it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lab_engine.artifacts import checkpoint_io
from lab_engine.reports import write
from lab_engine.training import terminal
from lenet_lab.compose import compose
from lenet_lab.training import train
from tests.conftest import SMALL, Command

Config = dict[str, Any]
RUN = ("data=digits", "data.batch_size=64", "optimizer.lr=0.05", "trainer.max_epochs=2", "logger=none", "threads=1")


@pytest.fixture(autouse=True)
def tidy() -> Any:
    yield
    terminal.close_log()


def job(folder: Path, *words: str) -> Config:
    folder.mkdir(parents=True)
    return compose(*RUN, *words, folder=str(folder))


def report(folder: str | Path) -> str:
    return (Path(folder) / "report.html").read_text()


def images_in_matrix(text: str) -> int:
    body = text[text.index('<table class="matrix"') :]
    body = body[body.index("<tbody>") : body.index("</table>")]
    return sum(int(cell) for cell in re.findall(r"<td[^>]*>(\d+)", body))


@pytest.mark.slow
def test_several_devices_write_one_report_of_all_test_images(command: Command) -> None:
    result = command("train", *SMALL, "trainer.devices=2", "trainer.accelerator=cpu")
    assert result.status == 0, result.err
    text = report(result.folder)
    assert images_in_matrix(text) == result.metrics["test/count"] == 359
    assert "chosen from the first device's 180 test images" in " ".join(text.split())
    assert result.out.count("report     run/report.html") == 1
    command_line = json.loads((result.folder / "environment.json").read_text())["command"]
    assert command_line.endswith(f"trainer.devices=2 trainer.accelerator=cpu hydra.run.dir={result.folder}")
    assert command_line.replace("&", "&amp;") in text


def test_a_run_that_was_interrupted_reports_all_epochs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = job(tmp_path / "run", "trainer.max_epochs=3")
    original, written = checkpoint_io.write_checkpoint, 0

    def stop_at_the_second(content: Any, path: Path, **options: bool) -> None:
        nonlocal written
        written += path.name == "last.ckpt"
        if written == 2:
            raise KeyboardInterrupt
        original(content, path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_io, "write_checkpoint", stop_at_the_second)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(config)
    file = tmp_path / "run" / "environment.json"
    assert not (tmp_path / "run" / "report.html").exists()
    earlier = re.sub('"started": "20..', '"started": "2001', file.read_text())  # as if by an earlier process
    file.write_text(earlier)
    train(config)
    text = report(tmp_path / "run")
    assert "per validation (3)" in text
    assert re.search(r"Started 2001-\S+ \S+ \S*, interrupted, ended 20", text)
    assert file.read_text() == earlier


def test_it_can_be_left_out(tmp_path: Path) -> None:
    config = job(tmp_path / "run", "report=false", "debug=one_batch")
    train(config)
    assert not (tmp_path / "run" / "report.html").exists()
    assert (tmp_path / "run" / "environment.json").exists()
    assert "report  " not in (tmp_path / "run" / "train.log").read_text()


def test_without_a_chosen_checkpoint_it_says_so(tmp_path: Path) -> None:
    config = job(tmp_path / "run", "callbacks.checkpoint=null", "callbacks.last=null", "debug=one_batch")
    train(config)
    assert "the last weights" in report(tmp_path / "run")


def test_a_run_is_worth_more_than_its_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> str:
        raise RuntimeError("no paper")

    monkeypatch.setattr(write, "to_html", fail)
    config = job(tmp_path / "run", "debug=one_batch")
    train(config)
    assert "report.html was not written: RuntimeError: no paper" in (tmp_path / "run" / "train.log").read_text()
    assert (tmp_path / "run" / "metrics.json").exists()
