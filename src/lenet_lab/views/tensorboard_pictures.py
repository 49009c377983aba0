"""The pictures in TensorBoard, and the layout of its charts."""

import io
import logging
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torchmetrics.classification import MulticlassPrecisionRecallCurve

from lab_engine.base.pictures import grid
from lab_engine.config.explain import one_line
from lab_engine.training.determinism import counting
from lab_engine.training.try_batch import evaluating
from lenet_lab.data.normalize import Normalize

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from PIL.Image import Image
    from torch.utils.tensorboard import SummaryWriter

log = logging.getLogger(__name__)

MAX_MISTAKES = 32
MAX_LAYERS = 4  # the first convolutions, whose outputs are shown
MAX_CHANNELS = 64  # of each layer
MAX_LABELLED_CLASSES = 20  # with more, counts do not fit into the cells of a confusion matrix
MAX_CURVES = 50  # with more classes, there are no curves of precision and recall
THRESHOLDS = 127  # of these curves

LAYOUT = {
    "overview": {
        "loss": ["Multiline", ["train/loss", "val/loss"]],
        "accuracy": ["Multiline", ["train/accuracy", "val/accuracy$"]],
        "val accuracy of each class": ["Multiline", ["val/accuracy/.*"]],
        "learning rate": ["Multiline", ["train/learning_rate"]],
        "images a second": ["Multiline", ["train/samples_per_second"]],
    }
}
"""Charts of the tab CUSTOM SCALARS: regular expressions of the curves on each."""


class PassStatistics:
    """Precision and recall of a pass over evaluation images, and this device's most confident mistakes.

    Args:
        classes: how many.
        device: of the logits.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self.curves: MulticlassPrecisionRecallCurve | None = None
        if classes <= MAX_CURVES:
            self.curves = MulticlassPrecisionRecallCurve(classes, thresholds=THRESHOLDS).to(device)
        self.first: Tensor | None = None
        """The first image, float (1, C, H, W), normalized."""
        self._mistakes: tuple[Tensor, ...] | None = None

    def update(
        self,
        images: Float[Tensor, "B C H W"],
        labels: Int64[Tensor, "B"],
        logits: Float[Tensor, "B classes"],
    ) -> None:
        """Add a batch of normalized images."""
        if not len(labels):
            return
        probabilities = logits.float().softmax(1)
        if self.curves is not None:
            with counting():
                self.curves.update(probabilities, labels)
        if self.first is None:
            self.first = images[:1].clone()
        confidence, predicted = probabilities.max(1)
        wrong = (predicted != labels).nonzero().flatten()
        chosen = wrong[confidence[wrong].argsort(descending=True)[:MAX_MISTAKES]]
        new = (confidence[chosen], predicted[chosen], labels[chosen], images[chosen])
        if self._mistakes is not None:
            new = tuple(torch.cat(parts) for parts in zip(self._mistakes, new, strict=True))  # type: ignore[assignment]
            best = new[0].argsort(descending=True)[:MAX_MISTAKES]
            new = tuple(part[best] for part in new)  # type: ignore[assignment]
        self._mistakes = new

    def mistakes(self) -> list[tuple[float, int, int, Tensor]]:
        """Return confidence, predicted class, true class and image (C, H, W) of each, the most confident first."""
        if self._mistakes is None:
            return []
        confidence, predicted, labels, images = self._mistakes
        return list(zip(confidence.tolist(), predicted.tolist(), labels.tolist(), images, strict=True))

    def counts(self) -> Tensor | None:
        """Return counts of images over all devices; every device must call it.

        Returns:
            int64 (thresholds, classes, 2, 2); the last two say whether label and prediction are the class.
        """
        if self.curves is None:
            return None
        with self.curves.sync_context():
            counts: Tensor = self.curves.confmat
            return counts.cpu()


class PictureWriter:
    """Writes the pictures of one run to TensorBoard.

    Args:
        writer: TensorBoard's.
        classes: names, in the order of the labels.
        normalize: what the images went through; undone to show them.
    """

    def __init__(self, writer: "SummaryWriter", classes: Sequence[str], normalize: Normalize) -> None:
        self.writer = writer
        self.classes = tuple(classes)
        self.normalize = normalize

    def begin(self, network: nn.Module | None, image: Tensor) -> None:
        """Lay out the charts and draw the network's graph; `image` is float (1, C, H, W), on its device."""
        self.writer.add_custom_scalars(LAYOUT)
        if network is None:
            return
        weights = next(network.parameters(), image)
        gpus = [image.device] if image.is_cuda else []
        with (
            evaluating(network),
            torch.random.fork_rng(gpus),
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),  # PyTorch also prints what it raises
        ):
            warnings.simplefilter("ignore")  # tracing is deprecated, but the graph needs it
            try:
                # unchecked: the check traces it once more while training waits
                traced = torch.jit.trace(network, image.to(weights.dtype), check_trace=False)  # type: ignore[no-untyped-call]
                self.writer.add_graph(traced, image.to(weights.dtype))
            except Exception as error:  # a user's network can raise anything when it is traced
                log.warning("TensorBoard cannot show this network's graph (%s).", one_line(error))

    def draw(
        self,
        stage: str,
        seen: PassStatistics,
        confusion: Tensor,
        counts: Tensor | None,
        network: nn.Module | None,
        step: int,
    ) -> None:
        """Draw the pictures of a pass.

        Args:
            stage: "val" or "test".
            seen: the statistics of this process.
            confusion: int64 (true class, predicted class), over all processes.
            counts: see `PassStatistics.counts`.
            network: its filters and outputs are drawn; None: they are not.
            step: optimizer steps of the run so far.
        """
        with warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", message="Glyph .* missing"
            )  # a class name in a script that the font lacks
            self.writer.add_figure(f"{stage}/confusion", confusion_figure(confusion, self.classes), step)
        if pictures := self._mistakes(seen):
            self.writer.add_image(f"{stage}/most confident mistakes", np.asarray(pictures), step, dataformats="HWC")
        if counts is not None:
            self._precision_recall(stage, counts, step)
        if seen.first is not None and network is not None:
            for name, picture in self._network(network, seen.first):
                self.writer.add_image(f"{stage}/{name}", np.asarray(picture), step, dataformats="HWC")
        self.writer.flush()

    def _mistakes(self, seen: PassStatistics) -> "Image | None":
        mistakes = seen.mistakes()
        if not mistakes:
            return None
        images = self.normalize.undo(torch.stack([image for *_, image in mistakes])).cpu().numpy()
        captions = [
            f"{confidence:.0%} {self.classes[predicted]}\nis {self.classes[true]}"
            for confidence, predicted, true, _ in mistakes
        ]
        return grid([*images], captions)

    def _precision_recall(self, stage: str, counts: Tensor, step: int) -> None:
        for name, each in zip(self.classes, counts.unbind(1), strict=True):
            negative, positive = each.unbind(1)  # by label: (thresholds, whether the class is predicted)
            false, true = negative[:, 1], positive[:, 1]
            self.writer.add_pr_curve_raw(
                f"{stage} precision and recall/{name}",
                true,
                false,
                negative[:, 0],
                positive[:, 0],
                true / (true + false).clamp(min=1),
                true / positive.sum(1).clamp(min=1),
                step,
                len(counts),
            )

    def _network(self, network: nn.Module, image: Tensor) -> Iterator[tuple[str, "Image"]]:
        layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)][:MAX_LAYERS]
        if not layers:
            return
        name, first = layers[0]
        filters = first.weight.detach()[:MAX_CHANNELS]  # (out, in, height, width)
        if filters.shape[1] not in (1, 3):
            filters = filters.mean(1, keepdim=True)
        yield f"filters of {name}", grid([*to_bytes(filters)], [str(n) for n in range(len(filters))], side=64)
        outputs: dict[str, Tensor] = {}
        handles = [layer.register_forward_hook(_keep(outputs, name)) for name, layer in layers]
        try:
            with evaluating(network), torch.no_grad():
                network(image)
        finally:
            for handle in handles:
                handle.remove()
        shown = self.normalize.undo(image).cpu().numpy()
        for name, output in outputs.items():
            channels = to_bytes(output[0, :MAX_CHANNELS, None])
            yield (
                f"outputs of {name}",
                grid([*shown, *channels], ["image", *(str(n) for n in range(len(channels)))], side=64),
            )


def _keep(outputs: dict[str, Tensor], name: str) -> Callable[..., None]:
    def hook(layer: nn.Module, inputs: Any, output: Tensor) -> None:
        outputs[name] = output.detach().float()

    return hook


def to_bytes(maps: Float[Tensor, "N C H W"]) -> UInt8[np.ndarray, "N C H W"]:
    """Scale each map on its own: its smallest value to 0, its largest to 255."""
    flat = maps.float().nan_to_num().flatten(1)
    low, high = flat.amin(1)[:, None], flat.amax(1)[:, None]
    scaled = (flat - low) / (high - low).clamp(min=torch.finfo(torch.float32).tiny) * 255
    return scaled.reshape(maps.shape).round().to("cpu", torch.uint8).numpy()


def confusion_figure(confusion: Tensor, classes: Sequence[str]) -> "Figure":
    """Draw int64 (true class, predicted class): colours are shares of the true class, numbers are images."""
    from matplotlib.figure import Figure

    counts = confusion.cpu().numpy()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    size = min(3 + 0.4 * len(classes), 14)
    figure = Figure(figsize=(size, size), dpi=80)
    figure.subplots_adjust(left=2 / (size + 1), bottom=2 / (size + 1), right=0.98, top=0.98)
    axes = figure.subplots()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if len(classes) <= MAX_LABELLED_CLASSES:
        axes.set_xticks(range(len(classes)), classes, rotation=90, parse_math=False)
        axes.set_yticks(range(len(classes)), classes, parse_math=False)
        for row, column in np.argwhere(counts):  # zeros are left out: to draw them takes longest
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=colour, fontsize=8)
    return figure
