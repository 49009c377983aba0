"""`predictions.csv` of a data module."""

import csv
import io
from typing import Any

import pytest
import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from lab_engine.base.errors import UserError
from lab_engine.prediction.output_table import MAX_COLUMNS, OutputTable


def written(outputs: Any, batch: Any, names: tuple[str, ...] = ()) -> list[list[str]]:
    stream = io.StringIO()
    table = OutputTable(stream, names)
    table.on_predict_batch_end(None, LightningModule(), outputs, batch, 0)  # type: ignore[arg-type]
    return list(csv.reader(io.StringIO(stream.getvalue())))


@pytest.mark.parametrize(
    ("outputs", "targets", "names", "heads"),
    [
        ((2,), (2,), (), ["output", "target"]),
        ((2, 1), (2, 1), ("a",), ["output", "target"]),
        ((2, 2), (2, 2), (), ["output_0", "output_1", "target_0", "target_1"]),
        ((2, 2), (2, 2), ("a", "b"), ["output_a", "output_b", "target_a", "target_b"]),
        ((2, 2), (2,), ("a", "b"), ["output_a", "output_b", "target"]),
        ((2, 2, 1, 2), (2, 1, 2), ("a", "b"), ["output_a_0_0", "output_a_0_1", "output_b_0_0", "output_b_0_1"]),
        ((2, 1, 2), (2, 2), ("a", "b"), ["output_0_0", "output_0_1", "target_0", "target_1"]),
    ],
)
def test_columns_have_the_names_of_the_outputs(
    outputs: tuple[int, ...], targets: tuple[int, ...], names: tuple[str, ...], heads: list[str]
) -> None:
    found = written(torch.zeros(outputs), [torch.zeros(2, 3), torch.zeros(targets)], names)[0]
    assert found[: len(heads) + 1] == ["sample", *heads]


@pytest.mark.parametrize("batch", [torch.zeros(2, 3), [torch.zeros(2, 3)]])
def test_inputs_alone_have_no_targets(batch: Any) -> None:
    assert written(torch.tensor([1.5, -2.0]), batch) == [["sample", "output"], ["0", "1.5"], ["1", "-2.0"]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64])
def test_numbers_can_be_read_back_exactly(dtype: torch.dtype) -> None:
    values = (100 * torch.randn(50, generator=torch.Generator().manual_seed(0), dtype=torch.float64)).to(dtype)
    read = [float(row[1]) for row in written(values, values)[1:]]
    assert torch.equal(torch.tensor(read, dtype=torch.float64).to(dtype), values)


def test_truth_is_a_number() -> None:
    assert written(torch.zeros(2), [torch.zeros(2), torch.tensor([True, False])])[1:] == [
        ["0", "0.0", "1"],
        ["1", "0.0", "0"],
    ]


@pytest.mark.parametrize("outputs", [{"a": torch.zeros(2)}, torch.zeros(()), torch.zeros(1, 4), None])
def test_what_has_no_row_for_each_sample_is_refused(outputs: Tensor | dict[str, Tensor] | None) -> None:
    with pytest.raises(
        UserError, match=r"predict_step\(\) of LightningModule returns .*, and predictions.csv has a row"
    ):
        written(outputs, [torch.zeros(2, 3), torch.zeros(2)])


def test_too_many_columns_are_refused() -> None:
    written(torch.zeros(2, MAX_COLUMNS - 1), torch.zeros(2))
    with pytest.raises(UserError, match=r"16,384 values for each sample") as refused:
        written(torch.zeros(2, MAX_COLUMNS), torch.zeros(2))
    assert len(str(refused.value).splitlines()) == 2
