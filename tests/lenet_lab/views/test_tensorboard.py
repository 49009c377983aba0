"""TensorBoard's pictures of real runs."""

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import Command, Result, run_command

QUICK = ("data=digits", "data.batch_size=64", "trainer.max_epochs=2", "optimizer.lr=0.05")


def events(result: Result) -> EventAccumulator:
    return EventAccumulator(
        str(result.folder / "tensorboard"), size_guidance=dict.fromkeys(("images", "scalars", "histograms"), 0)
    ).Reload()


def steps(result: Result, tag: str) -> list[int]:
    return [image.step for image in events(result).Images(tag)]


def test_pictures_take_their_share_of_the_time(digits_run: Result) -> None:
    """The quick start is over in seconds: the test has its pictures, but not each of the 30 validations."""
    tags = events(digits_run).Tags()["images"]
    assert {"test/confusion", "test/most confident mistakes", "test/filters of conv1"} <= set(tags)
    assert len(steps(digits_run, "val/confusion")) < 4 if "val/confusion" in tags else True
    assert steps(digits_run, "test/confusion") == [1230]


def test_the_curves_tell_how_it_goes(digits_run: Result) -> None:
    found = events(digits_run)
    learning = [event.value for event in found.Scalars("train/accuracy")]
    assert len(learning) == 30
    assert 0 < learning[0] < 0.5 < 0.9 < learning[-1] <= 1
    rates = [event.value for event in found.Scalars("train/learning_rate")]
    assert max(rates) == pytest.approx(0.05, rel=0.02)
    assert rates[-1] < 0.001
    assert all(event.value > 100 for event in found.Scalars("train/samples_per_second"))


@pytest.fixture(scope="module")
def every_epoch(tmp_path_factory: pytest.TempPathFactory) -> Result:
    folder = tmp_path_factory.mktemp("every")
    result = run_command(folder, "train", *QUICK, "callbacks=histograms", "callbacks.dashboard.share=1")
    assert result.status == 0, result.err
    return result


def test_each_validation_has_pictures_when_asked(every_epoch: Result) -> None:
    assert steps(every_epoch, "val/confusion") == [21, 43]
    assert steps(every_epoch, "val/outputs of conv2") == [21, 43]
    assert steps(every_epoch, "test/outputs of conv2") == [44]


def test_histograms_of_weights_and_gradients_when_asked(every_epoch: Result, digits_run: Result) -> None:
    tags = events(every_epoch).Tags()
    names = {tag for tag in tags["histograms"] + tags["tensors"] if tag.startswith(("weights/", "gradients/"))}
    assert len(names) == 20
    assert "gradients/network.conv1.weight" in names
    assert [event.step for event in events(every_epoch).Histograms("weights/network.conv1.weight")] == [22, 44]
    assert not events(digits_run).Tags()["histograms"]


def test_pictures_do_not_change_the_result(every_epoch: Result, command: Command) -> None:
    without = command("train", *QUICK, "callbacks.dashboard=null")
    timeless = [{k: v for k, v in each.metrics.items() if k != "train/seconds"} for each in (without, every_epoch)]
    assert timeless[0] == timeless[1]
    assert not events(without).Tags()["images"]
    assert not list((without.folder / "tensorboard").glob("**/*graph*"))


def test_what_cannot_be_drawn_ends_no_run(command: Command) -> None:
    """With a learning rate like this the weights are soon NaN, and a histogram of them is refused."""
    diverging = ["optimizer.lr=1e30", "callbacks.finite=null"]
    result = command("train", *QUICK, *diverging, "callbacks=histograms", "callbacks.dashboard.share=1")
    assert result.status == 0, result.err
    assert steps(result, "val/confusion") == [21, 43]


def test_without_tensorboard_nothing_is_drawn(command: Command) -> None:
    result = command("train", *QUICK, "trainer.max_epochs=1", "logger=none")
    assert result.status == 0, result.err
    assert not (result.folder / "tensorboard").exists()


def test_a_wrong_share_is_refused(command: Command) -> None:
    result = command("train", *QUICK, "callbacks.dashboard.share=2")
    assert (result.status, "share=2" in result.err, "from 0 to 1" in result.err) == (2, True, True)
    assert len(result.err.splitlines()) <= 2


@pytest.mark.slow
def test_several_devices_draw_once_what_all_have_seen(command: Command, every_epoch: Result) -> None:
    result = command("train", *QUICK, "trainer.devices=2", "callbacks.dashboard.share=1", "trainer.max_epochs=1")
    assert result.status == 0, result.err
    assert steps(result, "val/confusion") == [10]
    assert steps(result, "test/confusion") == [11]
    files = (result.folder / "tensorboard").glob("events*")
    assert len({path.name.split(".")[-2] for path in files}) == 1  # the process that has written them
