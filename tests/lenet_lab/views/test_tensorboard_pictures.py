"""TensorBoard's pictures, drawn from known predictions and read back."""

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import TENSORS, EventAccumulator
from tensorboard.plugins.pr_curve import metadata as pr_metadata
from tensorboard.util.tensor_util import make_ndarray
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from lenet_lab.data.normalize import Normalize
from lenet_lab.models.lenet import LeNet
from lenet_lab.views.tensorboard_pictures import (
    MAX_CURVES,
    MAX_MISTAKES,
    PassStatistics,
    PictureWriter,
    confusion_figure,
    to_bytes,
)

CLASSES = tuple("abcd")
CPU = torch.device("cpu")


def seen(count: int, batch: int, classes: int = 4) -> tuple[PassStatistics, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.rand((count, 3, 32, 32), generator=generator)
    labels = torch.randint(0, classes, (count,), generator=generator)
    logits = torch.randn((count, classes), generator=generator) * 3
    result = PassStatistics(classes, CPU)
    for start in range(0, count, batch):
        part = slice(start, start + batch)
        result.update(images[part], labels[part], logits[part])
    return result, images, labels, logits


@pytest.mark.parametrize("batch", [7, 1000])
def test_the_most_confident_mistakes_come_first(batch: int) -> None:
    result, images, labels, logits = seen(300, batch)
    probabilities = logits.softmax(1)
    confidence, predicted = probabilities.max(1)
    wrong = (predicted != labels).nonzero().flatten()
    expected = wrong[confidence[wrong].argsort(descending=True)][:MAX_MISTAKES]
    found = result.mistakes()
    assert len(found) == MAX_MISTAKES
    for (c, p, true, image), row in zip(found, expected, strict=True):
        assert (c, p, true) == (pytest.approx(float(confidence[row])), int(predicted[row]), int(labels[row]))
        assert torch.equal(image, images[row])
    assert result.first is not None
    assert torch.equal(result.first, images[:1])


def test_counts_at_each_threshold_are_those_of_the_predictions() -> None:
    result, _, labels, logits = seen(200, 64)
    counts = result.counts()
    assert counts is not None
    probabilities = logits.softmax(1)
    for index in (0, 40, len(counts) - 1):
        threshold = index / (len(counts) - 1)
        for label in range(4):
            says, true = probabilities[:, label] >= threshold, labels == label
            expected = [
                [int((~true & ~says).sum()), int((~true & says).sum())],
                [int((true & ~says).sum()), int((true & says).sum())],
            ]
            assert counts[index, label].tolist() == expected


def test_nothing_seen_and_many_classes_are_no_trouble(tmp_path: Path) -> None:
    nothing = PassStatistics(4, CPU)
    nothing.update(torch.empty(0, 3, 32, 32), torch.empty(0, dtype=torch.int64), torch.empty(0, 4))
    many, *_ = seen(100, 50, classes=MAX_CURVES + 1)
    counts = nothing.counts()  # every device must take part, also one that has seen nothing
    assert counts is not None
    assert not counts.any()
    assert many.counts() is None
    assert nothing.mistakes() == []
    with SummaryWriter(str(tmp_path)) as writer:
        for what, count in ((nothing, 4), (many, MAX_CURVES + 1)):
            pictures = PictureWriter(writer, [f"class {n}" for n in range(count)], Normalize(0.5, 0.5))
            confusion = torch.zeros((count, count), dtype=torch.int64)
            pictures.draw("val", what, confusion, what.counts(), LeNet(3, (32, 32), count), step=1)


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    result, _, labels, logits = seen(200, 64)
    network = LeNet(3, (32, 32), 4).train()
    random = torch.get_rng_state()
    with SummaryWriter(str(tmp_path)) as writer:
        pictures = PictureWriter(writer, CLASSES, Normalize(0.5, 0.5))
        pictures.begin(network, torch.zeros(1, 3, 32, 32))
        confusion = torch.zeros((4, 4), dtype=torch.int64).index_put_(
            (labels, logits.argmax(1)), torch.tensor(1), accumulate=True
        )
        pictures.draw("val", result, confusion, result.counts(), network, step=12)
    assert network.training
    assert torch.equal(torch.get_rng_state(), random)

    events = EventAccumulator(str(tmp_path), size_guidance={TENSORS: 0}).Reload()
    assert sorted(events.Tags()["images"]) == [
        "val/confusion",
        "val/filters of conv1",
        "val/most confident mistakes",
        "val/outputs of conv1",
        "val/outputs of conv2",
    ]
    assert all(events.Images(tag)[0].step == 12 for tag in events.Tags()["images"])
    assert b"conv2" in events.Graph().SerializeToString()
    curves = events.PluginTagToContent(pr_metadata.PLUGIN_NAME)
    assert sorted(curves) == [f"val precision and recall/{name}" for name in CLASSES]
    table = make_ndarray(events.Tensors("val precision and recall/a")[0].tensor_proto)
    assert table[0, 0] == int((labels == 0).sum())  # at threshold 0 all are taken for it
    assert table[4, 0] == pytest.approx(float((labels == 0).float().mean()))
    assert table[5, 0] == 1


def test_a_network_in_which_nothing_may_change_is_left_as_it_was(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.Dropout(0.5), nn.Flatten(), nn.LazyLinear(4))
    network(torch.zeros(2, 3, 32, 32))
    network[1].eval()  # as where a part is frozen
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    result, *_ = seen(20, 20)
    with SummaryWriter(str(tmp_path)) as writer:
        pictures = PictureWriter(writer, CLASSES, Normalize(0.5, 0.5))
        pictures.begin(network, torch.rand(1, 3, 32, 32))
        pictures.draw("val", result, torch.zeros((4, 4), dtype=torch.int64), result.counts(), network, step=1)
    assert [module.training for module in network] == [True, False, True, True, True]
    for key, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[key])
    assert not any(module._forward_hooks for module in network.modules())


class Untraceable(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        raise NotImplementedError("only for humans")


def test_a_network_without_a_graph_is_told_and_does_not_stop_the_run(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        PictureWriter(writer, CLASSES, Normalize(0.5, 0.5)).begin(Untraceable(), torch.zeros(1, 3, 8, 8))
    assert "only for humans" in caplog.text
    assert capsys.readouterr().out == ""


def test_a_network_without_convolutions_has_no_filters(tmp_path: Path) -> None:
    result, *_ = seen(20, 20)
    with SummaryWriter(str(tmp_path)) as writer:
        network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 4))
        PictureWriter(writer, CLASSES, Normalize(0.5, 0.5)).draw(
            "val", result, torch.eye(4).long(), None, network, step=1
        )
    assert not [
        tag for tag in EventAccumulator(str(tmp_path)).Reload().Tags()["images"] if "filters" in tag or "outputs" in tag
    ]


def test_normalization_is_undone() -> None:
    images = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16).expand(2, 3, 16, 16)
    for normalize in (Normalize(0.5, 0.5), Normalize([0.49, 0.48, 0.45], [0.2, 0.21, 0.26])):
        assert torch.equal(normalize.undo(normalize(images)), images)


def test_maps_use_all_greys() -> None:
    shown = to_bytes(torch.tensor([[[[-3.0, 0.0, 1.0]]], [[[2.0, 2.0, 2.0]]], [[[torch.nan, 0.0, 1.0]]]]))
    assert shown.tolist() == [[[[0, 191, 255]]], [[[0, 0, 0]]], [[[0, 0, 255]]]]


@pytest.mark.parametrize("name", ["a$_$", "$\\frac$", "鳥", "<b>&"])
def test_any_name_can_be_drawn(name: str, tmp_path: Path) -> None:
    result, *_ = seen(20, 20)
    network = LeNet(3, (32, 32), 4)
    with SummaryWriter(str(tmp_path)) as writer:
        confusion = torch.eye(4, dtype=torch.int64)
        PictureWriter(writer, [name, *"bcd"], Normalize(0.5, 0.5)).draw("val", result, confusion, None, network, step=1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_graph_is_drawn_at_any_precision(
    dtype: torch.dtype, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with SummaryWriter(str(tmp_path)) as writer:
        network = LeNet(3, (32, 32), 4).to(dtype)
        PictureWriter(writer, CLASSES, Normalize(0.5, 0.5)).begin(network, torch.zeros(1, 3, 32, 32))
    assert not caplog.text


def test_the_graph_takes_one_look_at_the_network(tmp_path: Path) -> None:
    looks: list[int] = []
    network = LeNet(3, (32, 32), 4)
    network.register_forward_hook(lambda *rest: looks.append(1))
    with SummaryWriter(str(tmp_path)) as writer:
        PictureWriter(writer, CLASSES, Normalize(0.5, 0.5)).begin(network, torch.zeros(1, 3, 32, 32))
    assert EventAccumulator(str(tmp_path)).Reload().Tags()["graph"]
    assert len(looks) == 1  # training waits meanwhile


def test_confusion_shows_counts_and_names() -> None:
    figure = confusion_figure(torch.tensor([[5, 0], [3, 1]]), ["ant", "bee"])
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["5", "3", "1"]
    assert [text.get_text() for text in axes.get_yticklabels()] == ["ant", "bee"]
    assert axes.images[0].get_array().tolist() == [[1.0, 0.0], [0.75, 0.25]]
    assert list(confusion_figure(torch.eye(200, dtype=torch.int64), ["x"] * 200).axes[0].texts) == []


def test_filters_of_any_number_of_channels_are_drawn(tmp_path: Path) -> None:
    class Widened(nn.Sequential):
        """Adds channels before the first convolution, as one that is told of places does."""

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(torch.cat([x, x[:, :2]], 1))

    result, *_ = seen(20, 20)
    with SummaryWriter(str(tmp_path)) as writer:
        network = Widened(nn.Conv2d(5, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        pictures = PictureWriter(writer, CLASSES, Normalize(0.5, 0.5))
        pictures.begin(None, torch.zeros(1, 3, 32, 32))  # of a network that cannot be looked into
        pictures.draw("val", result, torch.eye(4).long(), None, network, step=1)
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert any("filters" in tag for tag in tags["images"])
    assert not tags["graph"]
