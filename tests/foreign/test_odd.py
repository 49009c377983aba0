"""What the interface allows, and few do."""

import shlex

import pytest

from tests.conftest import ROUNDING, Command
from tests.foreign.test_tasks import OWN, REGRESSION

ODD = [OWN, "task=distilled", "data=odd", "model=tapered", "+teacher=small", "optimizer.lr=0.1", "trainer.max_epochs=2"]
MEAN = [OWN, "task=mean_of_epoch", *REGRESSION[2:]]
STOP = "+callbacks.stop._target_=lightning.pytorch.callbacks.early_stopping.EarlyStopping"


def test_what_was_added_is_there_again(command: Command) -> None:
    """A group, a key, a plain value; facts of NumPy; a network that reads tensors; a loader without a length."""
    result = command("train", *ODD, "+optimizer.dampening=0.1", "trainer.accumulate_grad_batches=4")
    assert (result.status, result.err) == (0, "")
    assert result.metrics["train/steps"] == 4  # 6 batches are 4 and 2
    (line,) = (line for line in result.out.splitlines() if line.startswith("evaluate"))
    again = command("evaluate", *shlex.split(line)[4:], "hydra.run.dir=again")
    assert (again.status, again.err) == (0, "")
    assert again.metrics["test/mae"] == result.metrics["test/mae"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            (OWN, "task=never_tested", "data=waves"),
            "NeverTested has no test_step(): a run trains, ",
        ),
        (
            (*REGRESSION, STOP, "+callbacks.stop.monitor=val/r2"),
            "callbacks.stop.monitor=val/r2 needs callbacks.stop.mode=max or callbacks.stop.mode=min: ",
        ),
        (
            (*ODD, "scheduler=cosine"),
            "scheduler=cosine is refused: neither task=distilled nor ",
        ),
        (
            (*ODD, "data.points=from_data"),
            "data.points=from_data is refused: only keys of the ",
        ),
        (
            (*REGRESSION, STOP, "+callbacks.stop.monitor=val/mae", "+callbacks.stop.patience=from_data"),
            "callbacks.stop.patience=from_data is refused: only keys of the task and of what it takes",
        ),
    ],
    ids=lambda value: value[-1] if isinstance(value, tuple) else "",
)
def test_what_would_go_wrong_later_is_refused(command: Command, words: tuple[str, ...], message: str) -> None:
    result = command("train", *words)
    assert result.status == 2
    assert result.err.startswith(f"error: {message}")
    assert len(result.err.splitlines()) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            [OWN, "task=regression", "data=blind", "model=mlp"],
            "Blind has no validation data: val_dataloader() gives none.\nA run chooses its checkpoint on them: ",
        ),
        (
            [*REGRESSION, "model._target_=foreign_regression.MLPP"],
            "model (foreign_regression.MLPP): there is no MLPP in foreign_regression; did you mean MLP?\n",
        ),
        (
            [*REGRESSION, "model._target_=elsewhere.MLP"],
            "model (elsewhere.MLP): there is no module elsewhere on Python's path\nCall the command in the folder ",
        ),
        ([*ODD, "model.inputs=1", "+model.shap=from_data"], "model.shap=from_data is refused: data=odd does not give "),
    ],
)
def test_what_is_not_there_is_told_in_a_line_or_two(command: Command, words: list[str], message: str) -> None:
    result = command("train", *words)
    assert (result.status, result.err[:7]) == (2, "error: ")
    assert result.err[7:].startswith(message)
    assert len(result.err.splitlines()) <= 2


def test_a_number_is_the_mean_over_all_devices_by_their_samples(command: Command) -> None:
    """40 points to validate and test on, in batches of 20: 2 devices have one each, and another mean."""
    result = command("train", OWN, "task=plain", *REGRESSION[2:], "trainer.devices=2", "trainer.max_epochs=2")
    assert result.status == 0, result.err
    assert "sync_dist" not in result.out + result.err
    alone = command("evaluate", OWN, f"checkpoint={result.folder}/checkpoints/best.ckpt", "hydra.run.dir=again")
    assert alone.metrics["test/mae"] == pytest.approx(result.metrics["test/mae"], rel=ROUNDING)
    assert "report     run/report.html" in result.out


def test_help_lists_options_of_ones_own(command: Command) -> None:
    result = command("train", OWN, "task=regression", "data=waves", "model=mlp", "--help")
    assert (result.status, result.err) == (0, "")
    assert "  model      lenet, mlp, tapered\n" in result.out
    assert "  hidden: 16\n" in result.out


def test_a_mean_over_an_epoch_of_training_can_be_watched(command: Command) -> None:
    result = command("train", *MEAN)
    assert (result.status, result.err) == (0, "")
    refused = command("train", *MEAN, "task.monitor=train/mae", "hydra.run.dir=other")
    assert refused.err.startswith("error: task.monitor=train/mae is refused: it was not logged by the end of the")


def test_an_evaluation_refuses_what_its_checkpoint_does_not_take(command: Command) -> None:
    result = command("train", *REGRESSION, "trainer.max_epochs=1")
    checkpoint = f"checkpoint={result.folder}/checkpoints/best.ckpt"
    refused = command("evaluate", OWN, checkpoint, "test_time=flip", "hydra.run.dir=again")
    assert refused.status == 2
    assert refused.err == (
        f"error: test_time=flip is refused: what {checkpoint} was made of takes no test_time\n"
        "It takes: model, optimizer\n"
    )
