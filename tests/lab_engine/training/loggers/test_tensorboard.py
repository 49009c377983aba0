"""Curves of a run that was cut off, and what the tab HPARAMS is made of."""

import threading
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.summary.writer import event_file_writer

from lab_engine.training.loggers.tensorboard import TensorBoard, _print_unless_raised_later
from tests.conftest import Result
from tests.resumed import scalars


def content(folder: Path) -> dict[str, bytes]:
    return EventAccumulator(str(folder)).Reload().PluginTagToContent(metadata.PLUGIN_NAME)


NOON = 1_000_000_000


@pytest.mark.parametrize(
    "moments",
    [range(NOON, NOON + 12), [NOON] * 12, range(NOON, NOON - 12, -1), [NOON, NOON + 86400, NOON, NOON + 1, NOON]],
    ids=["one by one", "in a second", "backwards", "a day ahead for a while"],
)
def test_points_come_in_their_order_whenever_the_clock_says_that_a_run_went_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moments: Sequence[int]
) -> None:
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(8))
    for number, moment in enumerate(moments):
        monkeypatch.setattr(time, "time", lambda moment=moment: float(moment))
        logger = TensorBoard(str(tmp_path), name="tensorboard", version="")
        logger.begin_at(2 * number)
        for step in range(2 * number, 2 * number + 3):  # the last one comes again
            logger.log_metrics({"loss": number}, step)
        logger.finalize("failed")
    last = len(moments) - 1
    assert scalars(tmp_path)["loss"] == [*((step, step // 2) for step in range(2 * last + 2)), (2 * last + 2, last)]
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == len(moments)


def test_a_run_is_listed_from_its_beginning(tmp_path: Path) -> None:
    logger = TensorBoard(str(tmp_path), name="tensorboard", version="")
    logger.log_hyperparams({"optimizer.lr": 0.1, "model": "LeNet"})
    logger.experiment.flush()
    found = content(tmp_path / "tensorboard")
    start = metadata.parse_session_start_info_plugin_data(found[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["optimizer.lr"].number_value == 0.1
    assert metadata.EXPERIMENT_TAG not in found  # it would hide settings that only other runs have
    assert metadata.SESSION_END_INFO_TAG not in found
    assert not EventAccumulator(str(tmp_path / "tensorboard")).Reload().Tags()["scalars"]  # no -1, no 0
    logger.finalize("finished")
    assert metadata.SESSION_END_INFO_TAG in content(tmp_path / "tensorboard")


def test_a_run_has_its_results_beside_its_hyperparameters(digits_run: Result) -> None:
    folder = digits_run.folder / "tensorboard"
    assert len(list(folder.glob("events.*"))) == 1
    events = EventAccumulator(str(folder)).Reload()
    found = content(folder)
    start = metadata.parse_session_start_info_plugin_data(found[metadata.SESSION_START_INFO_TAG])
    assert start.hparams["optimizer.lr"].number_value == 0.05
    assert start.hparams["augment"].string_value == "shift"
    assert metadata.SESSION_END_INFO_TAG in found
    for tag in ("test/accuracy", "test/loss", "best/val/accuracy", "best/val/loss"):
        (point,) = events.Scalars(tag)
        assert point.step == 1230
        assert point.value == pytest.approx(digits_run.metrics[tag.removeprefix("best/")])
    assert not {"hp_metric", "epoch"} & set(events.Tags()["scalars"])
    assert len(events.Scalars("val/accuracy")) == 30  # the chosen checkpoint's is no point of the curve


def test_what_ends_another_thread_is_still_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """That of the writer is not: it comes to whoever writes next."""
    monkeypatch.setattr(threading, "excepthook", _print_unless_raised_later)

    class _AsyncWriterThread(threading.Thread): ...

    for kind in (_AsyncWriterThread, threading.Thread):
        thread = kind(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        said = capsys.readouterr().err
        assert ("ZeroDivisionError" in said) == (kind is threading.Thread)
