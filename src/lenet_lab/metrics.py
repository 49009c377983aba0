"""Overall and per-class accuracy from one confusion matrix."""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torchmetrics import SumMetric
from torchmetrics.classification import MulticlassConfusionMatrix

from lab_engine.training.determinism import counting


class EvaluationMetrics(nn.Module):
    """Loss and confusion matrix of a pass over a set of images, exact for any batch size and number of devices.

    Args:
        classes: names, in the order of the labels; two or more.
    """

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = tuple(classes)
        self.confusion = MulticlassConfusionMatrix(len(self.classes))  # int64 (true class, predicted class)
        self.loss_sum = SumMetric(nan_strategy="disable")  # a NaN must stay visible

    def update(self, logits: Float[Tensor, "B classes"], labels: Int64[Tensor, "B"], loss: Float[Tensor, ""]) -> None:
        """Add a batch; `loss` is its mean."""
        with counting():
            self.confusion.update(logits, labels)
        self.loss_sum.update(loss * len(labels))

    def compute(self, stage: str) -> dict[str, float]:
        """Compute the metrics over all devices; every device must call it.

        Args:
            stage: "val" or "test".

        Returns:
            `<stage>/loss`, `<stage>/accuracy`, `<stage>/accuracy/<class>` (fractions, 0 to 1; none for a class
            without images) and `<stage>/count` (images).
        """
        confusion: Tensor = self.confusion.compute().to("cpu", torch.float64)  # (classes, classes)
        correct, images = confusion.diagonal(), confusion.sum(1)
        metrics = {
            f"{stage}/loss": float(self.loss_sum.compute()) / float(images.sum()),
            f"{stage}/accuracy": float(correct.sum() / images.sum()),
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
