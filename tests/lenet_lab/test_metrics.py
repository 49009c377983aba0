import json
import math
from pathlib import Path

import pytest
import torch

from lab_engine.artifacts.results import write_metrics
from lenet_lab.metrics import EvaluationMetrics


def logits(*predicted: int, classes: int = 3) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def test_counts_overall_and_per_class_over_batches_of_different_sizes() -> None:
    metrics = EvaluationMetrics(["a", "b", "c"])
    metrics.update(logits(0, 0, 1), torch.tensor([0, 1, 1]), torch.tensor(3.0))
    metrics.update(logits(1), torch.tensor([1]), torch.tensor(1.0))
    assert metrics.compute("test") == {
        "test/loss": 2.5,  # (3 images x 3.0 + 1 x 1.0) / 4
        "test/accuracy": 0.75,
        "test/balanced_accuracy": pytest.approx(5 / 6),  # c has no images
        "test/macro_f1": pytest.approx((2 / 3 + 4 / 5) / 2),
        # softmax of a one-hot row gives its class 0.576: three right ones, one wrong one
        "test/calibration_error": pytest.approx(0.75 - math.e / (math.e + 2)),
        "test/count": 4,
        "test/accuracy/a": 1.0,
        "test/accuracy/b": pytest.approx(2 / 3),
    }


def test_takes_an_empty_batch_and_forgets_when_reset() -> None:
    metrics = EvaluationMetrics(["a", "b", "c"])
    metrics.update(logits(2), torch.tensor([0]), torch.tensor(9.0))
    metrics.compute("val")
    metrics.reset()
    metrics.update(torch.zeros(0, 3), torch.zeros(0, dtype=torch.long), torch.tensor(0.0))
    metrics.update(logits(2), torch.tensor([2]), torch.tensor(0.5))
    assert metrics.compute("val") == {
        "val/loss": 0.5,
        **dict.fromkeys(("val/accuracy", "val/balanced_accuracy", "val/macro_f1", "val/accuracy/c"), 1.0),
        "val/calibration_error": pytest.approx(1 - math.e / (math.e + 2)),
        "val/count": 1,
    }


def test_a_loss_that_is_not_a_number_shows(tmp_path: Path) -> None:
    metrics = EvaluationMetrics(["a", "b", "c"])
    metrics.update(logits(0), torch.tensor([0]), torch.tensor(float("nan")))
    metrics.update(logits(0), torch.tensor([0]), torch.tensor(1.0))
    measured = metrics.compute("val")
    assert math.isnan(measured["val/loss"])
    write_metrics(tmp_path, measured)
    assert json.loads((tmp_path / "metrics.json").read_text())["val/loss"] is None


def test_is_written_as_flat_json(tmp_path: Path) -> None:
    write_metrics(tmp_path, {"test/accuracy": 0.5, "test/count": 10})
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"test/accuracy": 0.5, "test/count": 10}
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.json"]


def test_fractions_are_as_precise_as_python_has_them() -> None:
    metrics = EvaluationMetrics(["a", "b", "c"])
    metrics.update(logits(0, 1, 1), torch.tensor([0, 0, 0]), torch.tensor(1.0))
    assert metrics.compute("val")["val/accuracy"] == 1 / 3
