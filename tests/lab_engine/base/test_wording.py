"""Numbers stand before nouns of their number, everywhere; a path that is not there is answered with one that is."""

import re
from pathlib import Path

import pytest

import lab_engine
import lenet_lab
from lab_engine.base.wording import counted, did_you_mean_metric, did_you_mean_path

PLURALS = "epochs|steps|samples|batches|images|files|jobs|parameters|channels|threads|devices|minutes|layers"
BY_HAND = re.compile(rf"\{{[^{{}}]*(:,|\bsize|\bcount|len\([^)]*\))\}} ({PLURALS})\b")


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 steps"),
        (1, "1 step"),
        (2000, "2,000 steps"),
        (1.0, "1 step"),
        (1.5, "1.5 steps"),
        (1e6, "1,000,000 steps"),
    ],
)
def test_one_is_singular(number: float, text: str) -> None:
    assert counted(number, "step") == text


def test_the_name_of_a_path_may_be_misspelled(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "nowhere").symlink_to("nothing")
    assert did_you_mean_path(tmp_path / "fotos") == "; did you mean photos?"
    for name in ("cats", "nowhere", "fotos/a.png"):
        assert did_you_mean_path(tmp_path / name) == ""


@pytest.mark.parametrize(
    ("metric", "similar"),
    [
        ("val/acuracy", "val/accuracy"),
        ("train/acuracy", "train/accuracy"),
        ("valid/accuracy", "val/accuracy"),
        ("accuracy", "val/accuracy"),
        ("val/acc", "val/accuracy"),
        ("val/r2", ""),
    ],
)
def test_a_metric_of_the_same_stage_is_suggested(metric: str, similar: str) -> None:
    expected = f"; did you mean {similar}?" if similar else ""
    assert did_you_mean_metric(metric, ["val/accuracy", "val/mae", "train/accuracy"]) == expected


def test_nobody_counts_by_hand() -> None:
    found = [
        f"{file.name}: {line.strip()}"
        for package in (lab_engine, lenet_lab)
        for file in Path(package.__path__[0]).rglob("*.py")
        for line in file.read_text().splitlines()
        if BY_HAND.search(line) and " of " not in line
    ]
    assert found == []
