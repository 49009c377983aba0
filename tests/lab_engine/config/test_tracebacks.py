"""What a user sees of an error in data that PyTorch's loaders load, in this process or another."""

import traceback
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from lab_engine.config.explain import explain
from lab_engine.config.tracebacks import shorten


class Samples(Dataset[Any]):
    """Samples that fail when they are loaded or collated."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error

    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> Any:
        if self.error:
            raise self.error
        return torch.zeros(3, 4 + index)


def fails(loader: DataLoader[Any]) -> Exception:
    try:
        list(loader)
    except Exception as error:
        return error
    raise AssertionError("it has not failed")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("fault", [KeyError("what nobody expects"), ValueError("what nobody expects")])
def test_a_fault_of_a_dataset_is_shown_without_libraries(workers: int, fault: Exception) -> None:
    error = fails(DataLoader(Samples(fault), num_workers=workers))
    assert explain(error) is None
    text = "".join(traceback.format_exception(shorten(error)))
    assert "raise self.error" in text
    assert "what nobody expects" in text
    assert "site-packages" not in text
    assert len(text.splitlines()) < 20


@pytest.mark.parametrize("workers", [0, 1])
def test_samples_of_several_shapes_are_explained(workers: int) -> None:
    said = explain(fails(DataLoader(Samples(), batch_size=2, num_workers=workers)))
    assert said is not None
    assert said.startswith("A batch cannot be made of these samples: ")
    assert said.splitlines()[1].startswith("Make all samples tensors of the same shape, ")


def test_samples_that_are_no_tensors_are_explained() -> None:
    said = explain(fails(DataLoader([object()], batch_size=1)))  # type: ignore[arg-type]
    assert said is not None
    assert "found <class 'object'>" in said


def test_an_own_function_that_collates_is_shown() -> None:
    def collate(samples: list[Any]) -> Any:
        return torch.stack(samples)

    error = fails(DataLoader(Samples(), batch_size=2, collate_fn=collate))
    assert explain(error) is None
    assert "return torch.stack(samples)" in "".join(traceback.format_exception(shorten(error)))
