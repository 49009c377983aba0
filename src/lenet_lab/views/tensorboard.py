"""TensorBoard's pictures of an image classification."""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from lab_engine.training.interface import Pictures
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.views.tensorboard_pictures import PassStatistics, PictureWriter

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class ClassPictures(Pictures):
    """Collects the predictions of a pass over evaluation images, and draws them.

    Args:
        network: its filters and outputs are drawn, too; None if no process has all of it.
        confusion: the metric of the pass; computes int64 (true class, predicted class).
        data: the images.
    """

    def __init__(self, network: nn.Module | None, confusion: Metric, data: ImageDataModule) -> None:
        self.network = network
        self.confusion = confusion
        self.data = data
        self._seen: PassStatistics

    def begin(self, writer: "SummaryWriter", device: torch.device) -> None:
        """Lay out the charts, and draw the network's graph."""
        image = torch.from_numpy(self.data.train.images[self.data.validation_rows[:1]]).to(device)
        self._writer(writer).begin(self.network, self.data.prepare(image, training=False))

    def start(self, device: torch.device) -> None:
        """Start a pass."""
        self._seen = PassStatistics(len(self.data.train.classes), device)

    def update(self, batch: tuple[Tensor, Tensor], outputs: Any) -> None:
        """Add a batch of images and labels, and its logits."""
        self._seen.update(*batch, outputs)

    def draw(self, writer: "SummaryWriter | None", stage: str, step: int) -> None:
        """Draw the pictures of the pass, over all devices; every device must call it."""
        confusion, counts = self.confusion.compute(), self._seen.counts()
        if writer is not None:
            self._writer(writer).draw(stage, self._seen, confusion, counts, self.network, step)

    def _writer(self, writer: "SummaryWriter") -> PictureWriter:
        return PictureWriter(writer, self.data.train.classes, self.data.normalize)
