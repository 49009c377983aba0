"""Accuracy, overall and of each class, and what is measured beside it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torchmetrics import Metric, SumMetric
from torchmetrics.classification import MulticlassCalibrationError, MulticlassConfusionMatrix

from lab_engine.base.errors import UserError
from lab_engine.base.wording import described
from lab_engine.training.determinism import counting

MEASURED = ("loss", "accuracy", "balanced_accuracy", "macro_f1", "calibration_error", "count")
"""What `EvaluationMetrics` measures, without its stage."""
STEPS_PER_SUM = 64
"""Of the running metrics. A sum at each step costs 3 % of it at batch 4; of this many, next to nothing."""


class RunningMetrics:
    """Mean loss and accuracy of training since they were last computed, summed on the device that computes.

    Lightning's `self.log` at each step would cost a third of it at batch 4, and wait for a GPU.
    """

    def __init__(self) -> None:
        self._loss_sum = torch.zeros(())
        self._correct = torch.zeros((), dtype=torch.int64)
        self._steps = self._images = 0
        self._not_summed: list[tuple[Tensor, Tensor, Tensor]] = []  # loss (), predicted (B,), labels (B,)
        self._resumed: dict[str, Any] | None = None

    def start(self, device: torch.device) -> None:
        """Start at zero, or where a checkpoint was written."""
        self._loss_sum = torch.zeros((), device=device)
        self._correct = torch.zeros((), dtype=torch.int64, device=device)
        self._steps = self._images = 0
        self._not_summed.clear()
        if (resumed := self._resumed) is not None:
            self._resumed = None
            self._loss_sum += resumed["loss_sum"].to(device)
            self._correct += resumed["correct"].to(device)
            self._steps, self._images = resumed["steps"], resumed["images"]
            self._not_summed = [tuple(part.to(device) for part in step) for step in resumed["not_summed"]]

    def update(self, loss: Float[Tensor, ""], logits: Float[Tensor, "B classes"], labels: Int64[Tensor, "B"]) -> None:
        """Add a batch; `loss` is its mean, without gradient."""
        self._not_summed.append((loss, logits.argmax(1), labels))
        if len(self._not_summed) == STEPS_PER_SUM:
            self._sum()

    def _sum(self) -> None:
        if self._not_summed:
            losses, predicted, labels = zip(*self._not_summed, strict=True)
            hits = torch.cat(predicted) == torch.cat(labels)
            self._loss_sum += torch.stack(losses).sum()
            self._correct += hits.sum()
            self._steps += len(losses)
            self._images += len(hits)
            self._not_summed.clear()

    def compute(self) -> dict[str, Float[Tensor, ""]]:
        """Return `loss` and `accuracy` (0 to 1), and start at zero again; there must be a batch."""
        self._sum()
        means = {"loss": self._loss_sum / self._steps, "accuracy": self._correct / self._images}
        self._loss_sum.zero_()
        self._correct.zero_()
        self._steps = self._images = 0
        return means

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {
            "loss_sum": self._loss_sum.clone(),
            "correct": self._correct.clone(),
            "steps": self._steps,
            "images": self._images,
            # kept apart: a sum of other parts would differ in its last digits
            "not_summed": [tuple(part.clone() for part in step) for step in self._not_summed],
        }

    def load_state_dict(self, state_dict: dict[str, Any] | None) -> None:
        """Set where the next `start` begins; None: at zero."""
        self._resumed = state_dict


class EvaluationMetrics(nn.Module):
    """Loss and confusion matrix of a pass over a set of images, exact for any batch size and number of devices.

    Args:
        classes: names, in the order of the labels; two or more.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.confusion = MulticlassConfusionMatrix(len(self.classes))  # int64 (true class, predicted class)
        self.loss_sum = SumMetric(nan_strategy="disable")  # a loss that is not a number must show
        self.calibration_error = MulticlassCalibrationError(len(self.classes), validate_args=False)  # in 15 bins

    def update(self, logits: Float[Tensor, "B classes"], labels: Int64[Tensor, "B"], loss: Float[Tensor, ""]) -> None:
        """Add a batch; `loss` is its mean."""
        with counting():
            self.confusion.update(logits, labels)
        self.calibration_error.update(logits.float().softmax(1), labels)
        self.loss_sum.update(loss * len(labels))

    def compute(self, stage: str) -> dict[str, float]:
        """Compute the metrics over all devices; every device must call it.

        Args:
            stage: "val" or "test".

        Returns:
            `<stage>/loss`, `<stage>/accuracy`, `<stage>/accuracy/<class>` (fractions, 0 to 1; none for a class
            without images) and `<stage>/count` (images). Fractions, too: `<stage>/balanced_accuracy`, the mean of the
            classes' accuracies; `<stage>/macro_f1`, the mean of their F1 scores; and `<stage>/calibration_error`, the
            expected difference between the probability of the predicted class and how often it is right.
        """
        confusion: Tensor = self.confusion.compute().to("cpu", torch.float64)  # (classes, classes)
        correct, images, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)  # each (classes,)
        f1 = 2 * correct / (images + predicted)  # NaN for a class that is neither there nor predicted
        metrics = {
            f"{stage}/loss": float(self.loss_sum.compute()) / float(images.sum()),
            f"{stage}/accuracy": float(correct.sum() / images.sum()),
            f"{stage}/balanced_accuracy": float((correct / images).nanmean()),
            f"{stage}/macro_f1": float(f1.nanmean()),
            f"{stage}/calibration_error": float(self.calibration_error.compute()),
            f"{stage}/count": int(images.sum()),
        }
        for name, right, total in zip(self.classes, correct.tolist(), images.tolist(), strict=True):
            if total:
                metrics[f"{stage}/accuracy/{name}"] = right / total
        return metrics

    def reset(self) -> None:
        """Forget all batches."""
        self.confusion.reset()
        self.loss_sum.reset()
        self.calibration_error.reset()


def by_class(metrics: Mapping[str, Metric], classes: Sequence[str]) -> dict[str, Tensor]:
    """Compute metrics over all devices; of one with a value for each class, each gets a name of its own.

    Args:
        metrics: by name.
        classes: names of the classes; where there are not as many as values, these are numbered.

    Returns:
        Scalars by NAME, or NAME/CLASS.

    Raises:
        UserError: a metric is neither a number nor a list of them.
    """
    found: dict[str, Tensor] = {}
    for name, metric in metrics.items():
        value = metric.compute()
        if isinstance(value, Mapping):
            found |= {f"{name}/{part}": each for part, each in value.items() if each.ndim == 0}
        elif not isinstance(value, Tensor) or value.ndim > 1:
            raise UserError(
                f"metrics.{name} ({type(metric).__name__}) computes {described(value)}, which is neither a number nor "
                "one for each class.\nGive it arguments with which it is, such as average=macro."
            )
        elif value.ndim == 0:
            found[name] = value
        else:
            names = classes if len(classes) == len(value) else range(len(value))
            found |= {f"{name}/{part}": each for part, each in zip(names, value, strict=True)}
    return found
