"""The end of training is validated, whichever limit brings it."""

import pytest

from lab_engine.artifacts.curves import read_curves
from tests.conftest import Command


@pytest.mark.parametrize(
    ("words", "epochs", "steps", "said"),
    [
        (["trainer.max_steps=60"], [1, 2], [43, 60], "ended by trainer.max_steps=60, after 60 steps"),
        (["trainer.max_steps=500"], [1, 2], [43, 86], "ended by trainer.max_epochs=2, after 86 steps"),
        (["trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"], [2, 3], [86, 129], ""),
    ],
)
def test_the_last_weights_are_validated(
    command: Command, words: list[str], epochs: list[int], steps: list[int], said: str
) -> None:
    result = command("train", "data=digits", "data.batch_size=32", "optimizer.lr=0.05", *words)
    assert result.status == 0, result.err
    rows = read_curves(result.folder / "curves.csv")
    assert [row["epoch"] for row in rows] == epochs
    assert [row["step"] for row in rows] == steps
    assert result.metrics["train/steps"] == steps[-1]
    assert result.metrics["val/accuracy"] == max(row["val/accuracy"] for row in rows)
    assert said in result.out
