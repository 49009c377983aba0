from pathlib import Path

import pytest

from lab_engine.artifacts.curves import append_to_curves, parse_curves, read_curves, start_curves

ROWS = (
    {"epoch": 1, "step": 10, "train/loss": 2.5, "val/loss": 2.0, "val/accuracy": 0.25},
    {"epoch": 2, "step": 20, "train/loss": 1.5, "val/loss": 1.0, "val/accuracy": 0.5},
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Of a run of two validations."""
    start_curves(tmp_path / "curves.csv", step=0)
    for row in ROWS:
        append_to_curves(tmp_path / "curves.csv", row)
    return tmp_path / "curves.csv"


def test_what_was_measured_is_read_back(file: Path) -> None:
    assert read_curves(file) == ROWS
    first, second, *_ = file.read_bytes().splitlines(keepends=True)
    assert first == b"epoch,step,train/loss,val/loss,val/accuracy\r\n"
    assert second == b"1,10,2.5,2.0,0.25\r\n"


def test_no_file_is_no_rows(tmp_path: Path) -> None:
    assert read_curves(tmp_path / "curves.csv") == ()
    assert parse_curves("") == ()


def test_a_run_that_begins_begins_its_curves(file: Path) -> None:
    start_curves(file, step=0)
    assert read_curves(file) == ()


@pytest.mark.parametrize(("step", "kept"), [(9, 0), (10, 1), (15, 1), (20, 2)])
def test_rows_after_the_checkpoint_are_forgotten(file: Path, step: int, kept: int) -> None:
    start_curves(file, step)
    assert read_curves(file) == ROWS[:kept]
    append_to_curves(file, {"epoch": 3.0, "step": 30.0, "val/loss": 0.5})
    assert read_curves(file) == (*ROWS[:kept], {"epoch": 3, "step": 30, "val/loss": 0.5})
    assert file.read_text().splitlines()[-1] == ("3,30,,0.5," if kept else "3,30,,0.5")


def test_a_metric_that_is_logged_later_gets_a_column(file: Path) -> None:
    append_to_curves(file, {"epoch": 3, "step": 30, "val/f1": 0.5})
    assert read_curves(file) == (*ROWS, {"epoch": 3, "step": 30, "val/f1": 0.5})
    assert file.read_text().splitlines()[1] == "1,10,2.5,2.0,0.25,"


def test_a_line_that_was_cut_off_is_left_out(file: Path) -> None:
    whole = file.read_text()
    for length in range(len(whole)):
        assert parse_curves(whole[:length]) in ((), ROWS[:1])
    assert parse_curves(whole[:-1]) == ROWS[:1]
    joined = whole.replace("0.25\n", "0.2") + "3,30,1,1,1\n"  # the rest of the line never came, and the next one did
    assert parse_curves(joined) == ({"epoch": 3, "step": 30, "train/loss": 1, "val/loss": 1, "val/accuracy": 1},)


def test_the_last_row_of_a_step_counts_and_steps_are_in_order() -> None:
    text = "epoch,step,val/loss\n2,20,1\n1,10,5\n2,20,3\n"
    assert [(row["step"], row["val/loss"]) for row in parse_curves(text)] == [(10, 5), (20, 3)]


@pytest.mark.parametrize("row", ["1,,5", ",10,5", "1,inf,5", "1,nan,5", "1,10", "1,10,5,6", "a,10,5", ""])
def test_what_is_no_row_is_left_out(row: str) -> None:
    assert parse_curves(f"epoch,step,val/loss\n{row}\n3,30,1\n") == ({"epoch": 3, "step": 30, "val/loss": 1},)
