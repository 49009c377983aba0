"""Any pairs of inputs and targets, with losses and metrics by configuration alone."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch.utils.data import TensorDataset
from torchmetrics import MeanMetric

from lab_engine.base.errors import UserError
from lab_engine.base.wording import metric
from lenet_lab.api import compose, fit, load
from lenet_lab.data.digits import Digits
from lenet_lab.tasks.classification import Classification
from lenet_lab.tasks.supervised import Supervised
from lenet_lab.views.report_masks import FEW

HERE = __name__
CONF = Path(__file__).with_name("conf")
SMALL = (
    "task=supervised",
    "data=datasets",
    "trainer.max_epochs=2",
    "optimizer.lr=0.01",
    "threads=1",
)
MULTILABEL = ("macro_f1", "mean_average_precision", "f1", "average_precision")


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


def masks(train: bool) -> TensorDataset:
    """Digits (N, 1, 8, 8), with the class of each pixel (N, 8, 8)."""
    images = torch.from_numpy(Digits().load()[0 if train else 1].images[:200, :, ::4, ::4] / 255).float()
    made = TensorDataset(images, (images[:, 0] > 0.5).long())
    made.classes = ["paper", "ink"]  # type: ignore[attr-defined]
    return made


def words(kind: str, outputs: int) -> list[str]:
    data = [
        f"data.{part}={{_target_: {HERE}.rows, kind: {kind}, train: {str(part == 'train').lower()}}}"
        for part in ("train", "test")
    ]
    return [*SMALL, *data, "model=linear", f"model.out_features={outputs}"]


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


def test_the_loss_is_that_of_all_samples_whatever_the_batches(tmp_path: Path) -> None:
    given = [*words("number", 1), "loss=mse", "data.eval_batch_size=150"]
    metrics = fit(compose(*given, config_dir=CONF, folder=str(tmp_path / "run")))
    inputs, targets = rows("number", train=False).tensors
    loss = (load(tmp_path / "run", CONF)(inputs) - targets).square().mean().detach()
    assert metrics["test/loss"] == pytest.approx(float(loss), rel=1e-5)


def test_a_metric_of_several_labels_has_a_value_for_each(tmp_path: Path) -> None:
    given = [*words("labels", 3), "loss=bce", "metrics=multilabel"]
    metrics = fit(compose(*given, config_dir=CONF, folder=str(tmp_path / "run")))
    parts = [name for name in metrics if name.startswith("test/f1/")]
    assert parts == ["test/f1/odd", "test/f1/large", "test/f1/zero"]
    assert metrics["test/macro_f1"] == pytest.approx(sum(metrics[name] for name in parts) / 3)
    page = (tmp_path / "run" / "report.html").read_text()
    assert '<th scope="col" class="numeric">test f1</th>' in page
    for label in ("odd", "large", "zero"):
        cells = re.search(rf'<th scope="row">{label}</th>(.*?)</tr>', page)
        assert cells is not None
        shown = re.findall(r"<td[^>]*>([^<]*)", cells[1])
        names = [f"{stage}/{name}/{label}" for stage in ("test", "val") for name in ("f1", "average_precision")]
        assert shown == [metric("", metrics[name], ()) for name in names]
    table = (tmp_path / "run" / "train.log").read_text().split(" average_precision ")[-1]
    assert [line.split()[0] for line in table.splitlines()[2:5]] == ["odd", "large", "zero"]


def test_a_run_of_masks_shows_test_images_beside_targets_and_predictions(tmp_path: Path) -> None:
    data = [
        f"data.{part}={{_target_: {HERE}.masks, train: {str(part == 'train').lower()}}}" for part in ("train", "test")
    ]
    given = [*SMALL, *data, "model=per_pixel", "loss=cross_entropy", "metrics=segmentation"]
    metrics = fit(compose(*given, config_dir=CONF, folder=str(tmp_path / "run")))
    each = [metrics[f"test/iou/{name}"] for name in ("paper", "ink")]
    assert metrics["test/mean_iou"] == pytest.approx(sum(each) / 2)
    page = (tmp_path / "run" / "report.html").read_text()
    assert "<h2>Masks</h2>" in page
    assert "4 test images, each beside its target mask and the predicted mask." in page
    assert re.findall(r'<i style="background:(#[0-9a-f]{6})"></i>(\w+)', page) == [(FEW[0], "paper"), (FEW[1], "ink")]


def test_a_run_without_masks_or_classes_has_neither_section(tmp_path: Path) -> None:
    fit(compose(*words("number", 1), "loss=mse", config_dir=CONF, folder=str(tmp_path / "run")))
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Configuration" in page
    assert "Masks" not in page
    assert "Each class" not in page


def test_targets_that_would_be_stretched_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"loss \(MSELoss\) cannot compare outputs float32 \(32, 1\) with targets .*"):
        fit(compose(*words("column", 1), "loss=mse", config_dir=CONF, folder=str(tmp_path / "run")))


def test_metrics_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"metrics\.macro_f1 \(MultilabelF1Score\) cannot compare"):
        fit(
            compose(
                *words("number", 1),
                "loss=mse",
                "metrics=multilabel",
                *(f"metrics.{name}.num_labels=3" for name in MULTILABEL),
                config_dir=CONF,
                folder=str(tmp_path / "run"),
            )
        )


def test_a_metric_does_not_take_the_name_of_the_loss() -> None:
    with pytest.raises(UserError, match=r"^metrics\.loss is refused: the task logs a value of that name"):
        Supervised(torch.nn.Linear(1, 1), torch.nn.MSELoss(), {"loss": MeanMetric()})
    with pytest.raises(UserError, match=r"^metrics\.accuracy is refused"):  # it would take the place of the task's
        Classification(torch.nn.Linear(1, 2), ["a", "b"], metrics={"accuracy": MeanMetric()})


def test_as_many_names_as_classes_are_given() -> None:
    task = Supervised(torch.nn.Linear(1, 1), torch.nn.MSELoss(), classes=["a", "b"])
    with pytest.raises(UserError, match=r"task\.classes has 2 names, and the data 3: a, b, c\."):
        task.check_facts({"classes": ["a", "b", "c"]})


def test_validation_that_is_not_a_number_is_told(tmp_path: Path) -> None:
    data = [f"data.{part}={{_target_: {HERE}.broken, fill: {fill}}}" for part, fill in (("train", 1), ("val", "nan"))]
    test = f"data.test={{_target_: {HERE}.broken, fill: 1}}"
    words = [*SMALL, *data, test, "model=linear", "model.in_features=2", "loss=mse", "report=false"]
    fit(compose(*words, config_dir=CONF, folder=str(tmp_path / "run")))
    told = (tmp_path / "run" / "train.log").read_text()
    assert told.count("val/loss is nan in epoch 1: no checkpoint can be chosen by it.") == 1


def broken(fill: float) -> TensorDataset:
    return TensorDataset(torch.full((64, 2), float(fill)), torch.ones(64, 1))


def test_a_run_says_that_it_was_stopped_early(tmp_path: Path) -> None:
    words = ["callbacks=[early_stopping]", "callbacks.early_stopping.patience=1", "trainer.max_epochs=9"]
    fit(compose(*words_of_still(), *words, config_dir=CONF, folder=str(tmp_path / "run")))
    told = (tmp_path / "run" / "train.log").read_text()
    assert "Stopped in epoch 2 by EarlyStopping (val/loss)." in told
    assert "the last weights are tested. To choose one, use callbacks=[default,…]." in told


def words_of_still() -> list[str]:
    data = [f"data.{part}={{_target_: {HERE}.broken, fill: 0}}" for part in ("train", "test")]
    still = ["optimizer.lr=1e-30", "model=linear", "model.in_features=2", "loss=mse", "report=false"]
    return [*(word for word in SMALL if not word.startswith(("trainer.max", "optimizer.lr"))), *data, *still]
