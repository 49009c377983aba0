"""Accuracy, overall and of each class, and what is measured beside it."""

from collections.abc import Mapping, Sequence

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
                "one for each class.\nGive it other arguments, such as average=macro."
            )
        elif value.ndim == 0:
            found[name] = value
        else:
            names = classes if len(classes) == len(value) else range(len(value))
            found |= {f"{name}/{part}": each for part, each in zip(names, value, strict=True)}
    return found
