"""The LightningModule: what happens to a batch, and what is measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from rich.console import RenderableType
from torch import Tensor, nn
from torch.optim import Optimizer

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described, shortened
from lab_engine.config.explain import explain
from lab_engine.config.schedule import Schedule
from lab_engine.training.interface import Exportable, Section
from lenet_lab.data.datamodule import Batch, ImageDataModule
from lenet_lab.data.loader import BatchLoader
from lenet_lab.metrics import EvaluationMetrics
from lenet_lab.tta import TTA, single_view
from lenet_lab.views.accuracy_table import accuracy_table
from lenet_lab.views.class_pictures import ClassPictures
from lenet_lab.views.classes import class_section
from lenet_lab.views.dashboard import evaluating
from lenet_lab.views.exported_classifier import PixelKind, exportable_classifier
from lenet_lab.views.predictions import PredictionLog, Predictions
from lenet_lab.views.trained_network import TrainedNetwork, trained_network

RUNNING = "running_figures"
"""Key in checkpoints: sums of loss and hits since the last log entry."""
STEPS_PER_SUM = 64  # of the running loss, so that its cost per step vanishes


class Classification(LightningModule):
    """Trains any network that maps images to logits, with cross entropy unless told otherwise.

    Args:
        model: the network, float (B, C, H, W) to logits (B, classes).
        classes: names, in the order of the labels.
        optimizer: from named parameters to an optimizer; not needed to evaluate.
        scheduler: of the learning rate; None keeps it constant.
        loss: of training, from logits (B, classes) and labels (B,) to the mean loss ().
        test_time: test-time augmentation of validation and test; None: one view of each image.
    """

    def __init__(
        self,
        model: nn.Module,
        classes: Sequence[str],
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer] | None = None,
        scheduler: Schedule | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        test_time: TTA | None = None,
    ) -> None:
        super().__init__()
        self.network = model
        self.optimizer = optimizer
        self.schedule = scheduler
        self.loss = loss
        self.test_time = test_time or single_view
        self.metrics = EvaluationMetrics(classes)
        self.predictions: Predictions | None = None
        """Of the last test."""
        self._prediction_log = PredictionLog()
        self._steps_seen: list[tuple[Tensor, Tensor, Tensor]] = []  # loss (), predicted (B,), labels (B,)
        self._loss_sum: Tensor
        self._correct: Tensor
        self._steps = 0  # since the last log entry, like all of these
        self._images = 0
        self._resumed: dict[str, Any] | None = None  # the running sums of the checkpoint

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning's own loop sets the name of the current hook dozens of times a step; nn.Module's __setattr__ would
        # look for a parameter each time, which is slow.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
        """Return the logits of normalized images."""
        logits: Tensor = self.network(images)
        return logits

    def on_train_start(self) -> None:
        """Set the running sums to zero, or to those of the checkpoint; an earlier `fit` may have left some."""
        self._loss_sum = torch.zeros((), device=self.device)
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._steps_seen.clear()
        self._steps = self._images = 0
        if (resumed := self._resumed) is not None:
            self._resumed = None
            self._loss_sum += resumed["loss_sum"].to(self.device)
            self._correct += resumed["correct"].to(self.device)
            self._steps, self._images = resumed["steps"], resumed["images"]
            self._steps_seen = [tuple(part.to(self.device) for part in step) for step in resumed["steps_seen"]]

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean loss of a batch; every `trainer.log_every_n_steps` steps, log the means since the last entry.

        With several devices, the means are of this device's batches.
        """
        images, labels = batch
        logits = self.network(images)
        loss = self.loss(logits, labels)
        # Summed on the device, many steps at once: `self.log` at each step is slow in small batches, and waits for a
        # GPU.
        self._steps_seen.append((loss.detach(), logits.argmax(1), labels))
        if len(self._steps_seen) == STEPS_PER_SUM:
            self._accumulate()
        trainer, batches = self.trainer, batch_idx + 1
        steps_now = batches % trainer.accumulate_grad_batches == 0 or batches == trainer.num_training_batches
        if steps_now and (self.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._accumulate()
            self.log("train/loss", self._loss_sum / self._steps)
            self.log("train/accuracy", self._correct / self._images)
            self._loss_sum.zero_()
            self._correct.zero_()
            self._steps = self._images = 0
        return loss

    def _accumulate(self) -> None:
        if self._steps_seen:
            losses, predicted, labels = zip(*self._steps_seen, strict=True)
            hits = torch.cat(predicted) == torch.cat(labels)
            self._loss_sum += torch.stack(losses).sum()
            self._correct += hits.sum()
            self._steps += len(losses)
            self._images += len(hits)
            self._steps_seen.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B classes"]:
        """Update the metrics; return the logits, for callbacks."""
        return self._measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B classes"]:
        """Update the metrics; return the logits, for callbacks."""
        logits = self._measure(batch)
        self._prediction_log.update(logits, batch[1])
        return logits

    def on_validation_epoch_end(self) -> None:
        """Log the metrics as `val/…`."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log the metrics as `test/…`, and keep the predictions for the report."""
        loader = self.trainer.test_dataloaders
        rows = loader.rows[loader.rank :: loader.world_size] if isinstance(loader, BatchLoader) else None
        self.predictions = self._prediction_log.finish(self.metrics.confusion.compute(), rows)
        self._log_metrics("test")

    def _measure(self, batch: Batch) -> Float[Tensor, "B classes"]:
        images, labels = batch
        logits = self.test_time(self.network, images)
        loss = F.cross_entropy(logits, labels) if len(labels) else logits.new_zeros(())
        self.metrics.update(logits, labels, loss)
        return logits

    def _log_metrics(self, stage: str) -> None:
        metrics = self.metrics.compute(stage)
        self.metrics.reset()
        device = torch.device("cpu") if self.device.type == "mps" else self.device  # MPS has no float64
        for name, value in metrics.items():
            exact = torch.tensor(value, dtype=torch.float64, device=device)
            # All devices have the same value: sync_dist only tells Lightning so, and the maximum of equal values is
            # exact, where their mean would be rounded. A count is not drawn as a curve.
            curve = False if name == f"{stage}/count" else None
            self.log(name, exact, sync_dist=True, reduce_fx="max", logger=curve)

    def configure_optimizers(self) -> Any:
        """Build the optimizer and, if there is one, the learning rate's schedule."""
        if self.optimizer is None:
            raise RuntimeError("a Classification without optimizer cannot be trained")
        optimizer = self.optimizer(self.network.named_parameters())
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.schedule.configure(optimizer, self.trainer)}

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
        classes = len(self.metrics.classes)
        pair = isinstance(batch, list | tuple) and len(batch) == 2 and all(isinstance(each, Tensor) for each in batch)
        if not pair:
            raise UserError(
                f"The data gives batches of {described(batch)}, and this task takes images and labels.\n"
                "Give a pair of tensors: float (B, C, H, W) and int64 (B,)."
            )
        images, labels = batch
        if not images.is_floating_point() or images.ndim != 4:
            raise UserError(
                f"The data gives images of {described(images)}, and this task takes float (B, C, H, W).\n"
                "Convert them in the data module."
            )
        if labels.dtype != torch.int64 or labels.shape != images.shape[:1]:
            raise UserError(
                f"The data gives labels of {described(labels)} for images of {described(images)}.\n"
                f"This task takes a class number for each image: int64 ({len(images)},)."
            )
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
            raise UserError(
                f"The data gives labels from {int(labels.min())} to {int(labels.max())}, and there are {classes} "
                f"classes.\nLabels are whole numbers from 0 to {classes - 1}."
            )
        logits = self._try_network(images[:2])
        expected = (len(images[:2]), classes)
        if not isinstance(logits, Tensor) or tuple(logits.shape) != expected:
            raise UserError(
                f"The network {type(self.network).__name__} gives {described(logits)} for {expected[0]} images, and "
                f"{expected} is needed: a logit for each class.\nLook at its last layer, and at model.num_classes."
            )

    def _try_network(self, images: Float[Tensor, "B C H W"]) -> Any:
        """Return the network's output, and change nothing: no gradients, batch statistics or random state."""
        gpus = [images.device] if images.is_cuda else []
        try:
            with evaluating(self.network), torch.no_grad(), torch.random.fork_rng(devices=gpus):
                return self.test_time(self.network, images)
        except (RuntimeError, ValueError) as error:
            if explain(error) is not None:  # out of memory, or an operation without a deterministic form
                raise
            reason = shortened(next(iter(str(error).splitlines()), type(error).__name__))
            raise UserError(
                f"The network {type(self.network).__name__} cannot take images of {described(images)}: {reason}"
            ) from error

    def describe(self) -> dict[str, str]:
        """Return lines for the header of a run, by name."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return {
            "model": f"{type(self.network).__name__}, {parameters:,} parameters",
            "judged by": "" if self.test_time is single_view else str(self.test_time),
        }

    def summarize(self, metrics: Mapping[str, Any], stage: str) -> RenderableType:
        """Return overall and per-class accuracy as a table for the terminal."""
        return accuracy_table(metrics, stage, self.metrics.classes)

    def report_sections(self, data: LightningDataModule) -> list[Section]:
        """Return the report's section on classes, if the predictions and the test images are known."""
        if self.predictions is None or not isinstance(data, ImageDataModule):
            return []
        return [class_section(data.test, self.predictions)]

    def pictures(self, data: LightningDataModule) -> ClassPictures | None:
        """Return TensorBoard's pictures, if the data are images."""
        if not isinstance(data, ImageDataModule):
            return None
        whole = isinstance(
            self.trainer.strategy, SingleDeviceStrategy | DDPStrategy
        )  # each device has all of the network
        return ClassPictures(self.network if whole else None, self.metrics.confusion, data)

    def predictor(self, facts: Mapping[str, Any]) -> TrainedNetwork:
        """Return the network for `predict`, with the test-time augmentation of validation and test."""
        return trained_network(self.network, facts, self.test_time)

    def exportable(self, facts: Mapping[str, Any], pixels: PixelKind = "uint8") -> Exportable:
        """Return the module that `export` writes: normalization and network, without test-time augmentation."""
        return exportable_classifier(trained_network(self.network, facts), pixels)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save the running sums."""
        checkpoint[RUNNING] = {
            "loss_sum": self._loss_sum.clone(),
            "correct": self._correct.clone(),
            "steps": self._steps,
            "images": self._images,
            # kept apart: to sum them up here would round differently from a run that is not interrupted
            "steps_seen": [tuple(part.clone() for part in step) for step in self._steps_seen],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the running sums for `on_train_start`; checkpoints of other programs have none."""
        self._resumed = checkpoint.get(RUNNING)
