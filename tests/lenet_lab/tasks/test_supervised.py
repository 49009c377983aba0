"""Any pairs of inputs and targets, with losses and metrics by configuration alone."""

import json
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset

from lab_engine.base.errors import UserError
from lenet_lab.api import compose, fit, load
from lenet_lab.data.digits import Digits

HERE = __name__
CONF = Path(__file__).with_name("conf")
SMALL = (
    "task=supervised",
    "data=datasets",
    "model=linear",
    "trainer.max_epochs=2",
    "optimizer.lr=0.01",
    "threads=1",
    "report=false",
)


def rows(kind: str, train: bool) -> TensorDataset:
    """Digits as rows of pixels (N, 64), with targets of a kind."""
    images = Digits().load()[0 if train else 1]
    inputs = torch.from_numpy(images.images[:200, 0, ::4, ::4].reshape(200, 64) / 255).float()
    labels = torch.from_numpy(images.labels[:200])
    targets = {
        "number": labels[:, None].float(),
        "column": labels.float(),
        "labels": torch.stack([labels % 2, (labels > 4).long(), (labels == 0).long()], 1),
    }
    made = TensorDataset(inputs, targets[kind])
    if kind == "labels":
        made.classes = ["odd", "large", "zero"]  # type: ignore[attr-defined]
    return made


def words(kind: str, outputs: int) -> list[str]:
    data = [
        f"data.{part}={{_target_: {HERE}.rows, kind: {kind}, train: {str(part == 'train').lower()}}}"
        for part in ("train", "test")
    ]
    return [*SMALL, *data, f"model.out_features={outputs}"]


def test_regression_is_measured_and_loaded_again(tmp_path: Path) -> None:
    given = [*words("number", 1), "loss=mse", "metrics=regression", "task.monitor=val/mae"]
    metrics = fit(compose(*given, config_dir=CONF, folder=str(tmp_path / "run")))
    assert {"val/loss", "val/mae", "val/r2", "test/loss", "test/mae", "test/r2"} <= metrics.keys()
    assert metrics["test/count"] == 200
    directions = json.loads((tmp_path / "run" / "task.json").read_text())["directions"]
    assert directions == {"mae": "min", "r2": "max", "loss": "min"}
    inputs, targets = rows("number", train=False).tensors
    off = (load(tmp_path / "run", CONF)(inputs) - targets).abs().mean().detach()
    assert float(off) == pytest.approx(metrics["test/mae"], rel=1e-5)


def test_a_metric_of_several_labels_has_a_value_for_each(tmp_path: Path) -> None:
    given = [*words("labels", 3), "loss=bce", "metrics=multilabel", "+task.classes=from_data"]
    metrics = fit(compose(*given, config_dir=CONF, folder=str(tmp_path / "run")))
    parts = [name for name in metrics if name.startswith("test/f1/")]
    assert parts == ["test/f1/odd", "test/f1/large", "test/f1/zero"]


def test_targets_that_would_be_stretched_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss \(MSELoss\) cannot compare outputs float32 \(32, 1\) with targets .*"):
        fit(compose(*words("column", 1), "loss=mse", config_dir=CONF, folder=str(tmp_path / "run")))


def test_metrics_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.f1 \(MultilabelF1Score\) cannot compare"):
        fit(
            compose(
                *words("number", 1),
                "loss=mse",
                "metrics=multilabel",
                "metrics.f1.num_labels=3",
                "metrics.average_precision.num_labels=3",
                config_dir=CONF,
                folder=str(tmp_path / "run"),
            )
        )
