"""The LightningModule: what happens to a batch, and what is measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch import LightningDataModule
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from rich.console import RenderableType
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described
from lab_engine.config.schedule import Schedule
from lab_engine.training.interface import Exportable, Section
from lab_engine.training.try_batch import outputs_of
from lenet_lab.data.datamodule import Batch, ImageDataModule
from lenet_lab.data.loader import BatchLoader
from lenet_lab.metrics import MEASURED, EvaluationMetrics, by_class
from lenet_lab.tasks.image_batch import image_batch
from lenet_lab.tasks.supervised import Supervised
from lenet_lab.tta import TTA, single_view
from lenet_lab.views.accuracy_table import accuracy_table
from lenet_lab.views.exported_classifier import PixelKind, exportable_classifier
from lenet_lab.views.predictions import PredictionLog, Predictions
from lenet_lab.views.report_classes import class_section
from lenet_lab.views.tensorboard import ClassPictures
from lenet_lab.views.trained_network import TrainedNetwork, trained_network

SHOWN = ("loss", "accuracy")
"""Metrics in the line of an epoch, beside the one that is monitored."""


class Classification(Supervised):
    """Trains any network that maps images to logits, with cross entropy unless told otherwise.

    Args:
        model: the network, float (B, C, H, W) to logits (B, classes).
        classes: names, in the order of the labels.
        optimizer: from named parameters to an optimizer; not needed to evaluate.
        scheduler: of the learning rate; None keeps it constant.
        loss: of training, from logits (B, classes) and labels (B,) to the mean loss ().
        metrics: by name, measured beside those of `EvaluationMetrics`; each is updated with logits and labels.
        mix: of training, from images and labels (B,) to other images and shares of the classes (B, classes);
            `train/accuracy` is left out then, for images have no one class.
        test_time: how validation and test show the network an image.
    """

    measured_anyway = MEASURED

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str],
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer] | None = None,
        scheduler: Schedule | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        metrics: Mapping[str, Metric] | None = None,
        mix: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]] | None = None,
        test_time: TTA | None = None,
    ) -> None:
        super().__init__(model, loss, metrics, optimizer, scheduler, classes)
        self.mix = mix
        self.test_time = test_time or single_view
        self.measured = EvaluationMetrics(classes)
        self.predictions: Predictions | None = None
        """Of the last test."""
        self._prediction_log = PredictionLog()

    def setup(self, stage: str) -> None:
        """Pass the sizes of the classes to a loss whose weights follow from them."""
        if stage == "fit" and getattr(self.loss, "waits_for_counts", False):
            counts = getattr(self.trainer.datamodule, "class_counts", None)  # type: ignore[attr-defined]
            if counts is None:
                raise UserError(
                    "loss.class_weights=auto needs data that know how many images of each class they train on.\n"
                    "Give a number for each class: loss.class_weights=[…]"
                )
            self.loss.use_counts(counts())  # type: ignore[attr-defined]

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean loss of a batch; means over several are logged, see `log_means`."""
        images, labels = batch
        images, targets = (images, labels) if self.mix is None else self.mix(images, labels)
        logits = self.network(images)
        loss = self.training_loss(images, logits, targets)
        hits = {"train/accuracy": (logits.argmax(1), labels)} if self.mix is None else {}
        self.training_means.update(len(labels), {"train/loss": loss.detach(), **hits})
        self.log_means(batch_idx)
        return loss

    def training_loss(self, images: Tensor, logits: Tensor, targets: Tensor) -> Float[Tensor, ""]:
        """Return the loss of training; a subclass may compute it from the images, too.

        Args:
            images: float (B, C, H, W), as the network has seen them.
            logits: float (B, classes).
            targets: int64 (B,), or with `mix` float (B, classes).
        """
        return self.loss(logits, targets)

    def test_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B classes"]:
        """Measure a batch; return the logits, for callbacks."""
        logits = self._measure(batch)
        self._prediction_log.update(logits, batch[1])
        return logits

    def on_test_epoch_end(self) -> None:
        """Keep the predictions, and log `test/…`."""
        loader = self.trainer.test_dataloaders
        rows = loader.rows[loader.rank :: loader.world_size] if isinstance(loader, BatchLoader) else None
        self.predictions = self._prediction_log.finish(self.measured.confusion.compute(), rows)
        self._log_metrics("test")

    def _measure(self, batch: Batch) -> Float[Tensor, "B classes"]:
        images, labels = batch
        logits = self.test_time(self.network, images)
        loss = F.cross_entropy(logits, labels) if len(labels) else logits.new_zeros(())
        self.measured.update(logits, labels, loss)
        for metric in self.metrics.values():
            metric.update(logits, labels)
        return logits

    def _log_metrics(self, stage: str) -> None:
        own = by_class(self.metrics, self.classes)
        metrics = self.measured.compute(stage) | {f"{stage}/{name}": value.item() for name, value in own.items()}
        self.measured.reset()
        for metric in self.metrics.values():
            metric.reset()
        device = torch.device("cpu") if self.device.type == "mps" else self.device  # which has no float64
        for name, value in metrics.items():
            exact = torch.tensor(value, dtype=torch.float64, device=device)
            # All devices have the same value: sync_dist only tells Lightning so, and the maximum of equal values is
            # exact, where their mean would be rounded. A count is not drawn as a curve.
            curve = False if name == f"{stage}/count" else None
            shown = name.partition("/")[2] in SHOWN
            self.log(name, exact, sync_dist=True, reduce_fx="max", logger=curve, prog_bar=shown)

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Refuse test-time augmentation for which the images are too small."""
        if {"in_channels", "image_size"} <= facts.keys():
            images = torch.zeros(1, facts["in_channels"], *facts["image_size"])
            self.test_time(lambda batch: torch.zeros(len(batch), 2), images)

    def check_batch(self, batch: Any) -> None:
        """Refuse images, labels and outputs that do not fit each other; called once, with the first batch.

        Raises:
            UserError: they do not.
        """
        images, labels = image_batch(batch, len(self.classes))
        logits = outputs_of(self.network, partial(self.test_time, self.network), images[:2])
        expected = (len(images[:2]), len(self.classes))
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            raise UserError(
                f"The network {type(self.network).__name__} gives {described(logits)} for {expected[0]} images, and "
                f"{expected} is needed: a logit for each class.\nLook at its last layer, and at model.num_classes."
            )
        targets = labels if self.mix is None else nn.functional.one_hot(labels, len(self.classes)).to(logits.dtype)
        self._try_measuring(logits, targets[:2], labels[:2])

    def describe(self) -> dict[str, str]:
        """Return lines for the header of a run, by name."""
        mixed = "" if self.mix is None else f"{type(self.mix).__name__}, so train/accuracy is left out"
        return {
            **super().describe(),
            "mixed by": mixed,
            "judged by": "" if self.test_time is single_view else str(self.test_time),
        }

    def summarize(self, metrics: Mapping[str, Any], stage: str) -> RenderableType:
        """Return overall and per-class accuracy as a table for the terminal."""
        return accuracy_table(metrics, stage, self.classes)

    def report_sections(self, data: LightningDataModule) -> list[Section]:
        """Return the report's section on classes, if the predictions and the test images are known."""
        if self.predictions is None or not isinstance(data, ImageDataModule):
            return []
        return [class_section(data.test, self.predictions)]

    def pictures(self, data: LightningDataModule) -> ClassPictures | None:
        """Return TensorBoard's pictures, if the data are images."""
        if not isinstance(data, ImageDataModule):
            return None
        whole = isinstance(self.trainer.strategy, SingleDeviceStrategy | DDPStrategy)  # each device has the network
        return ClassPictures(self.network if whole else None, self.measured.confusion, data)

    def predictor(self, facts: Mapping[str, Any]) -> TrainedNetwork:
        """Return the network for `predict`, with the test-time augmentation of validation and test."""
        return trained_network(self.network, facts, self.test_time)

    def exportable(self, facts: Mapping[str, Any], pixels: PixelKind = "uint8") -> Exportable:
        """Return the module that `export` writes: normalization and network, without test-time augmentation."""
        return exportable_classifier(self.predictor(facts), pixels)
