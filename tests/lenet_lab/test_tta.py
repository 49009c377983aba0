"""Test-time augmentation, in training and wherever a checkpoint is used afterwards."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from lab_engine.base.errors import UserError
from lenet_lab.tasks.classification import Classification
from lenet_lab.tta import FlipShiftTTA
from tests.conftest import ROUNDING, run_command


def test_flip_averages_the_probabilities_of_both_views() -> None:
    torch.manual_seed(0)
    images, weights = torch.randn(5, 3, 8, 8), torch.randn(3 * 8 * 8, 4)

    def network(batch: Tensor) -> Tensor:
        return batch.flatten(1) @ weights

    expected = (network(images).softmax(1) + network(images.flip(3)).softmax(1)) / 2
    torch.testing.assert_close(FlipShiftTTA(flip=True, shift=0)(network, images).exp(), expected)


def test_shift_moves_images_and_reflects_their_edges() -> None:
    seen: list[Tensor] = []

    def network(batch: Tensor) -> Tensor:
        seen.append(batch)
        return torch.zeros(len(batch), 2)

    image = torch.arange(9.0).view(1, 1, 3, 3)
    FlipShiftTTA(flip=False, shift=1)(network, image)
    expected = [
        [[0, 1, 2], [3, 4, 5], [6, 7, 8]],
        [[3, 4, 5], [0, 1, 2], [3, 4, 5]],
        [[3, 4, 5], [6, 7, 8], [3, 4, 5]],
        [[1, 0, 1], [4, 3, 4], [7, 6, 7]],
        [[1, 2, 1], [4, 5, 4], [7, 8, 7]],
    ]
    assert [view[0, 0].tolist() for view in seen] == expected


def test_a_shift_as_large_as_the_image_is_refused_before_training() -> None:
    with pytest.raises(UserError, match=r"test_time\.shift=8 needs images larger than 8x8"):
        Classification(nn.Flatten(), "ab", test_time=FlipShiftTTA(flip=False, shift=8)).check_batch(
            (torch.zeros(1, 3, 8, 8), torch.zeros(1, dtype=torch.int64))
        )


@pytest.mark.parametrize(("flip", "shift", "count"), [(False, 0, 1), (True, 0, 2), (False, 3, 5), (True, 1, 10)])
def test_a_run_is_told_as_many_views_as_the_network_is_shown(flip: bool, shift: int, count: int) -> None:
    shown: list[Tensor] = []

    def network(batch: Tensor) -> Tensor:
        shown.append(batch)
        return torch.zeros(len(batch), 2)

    views = FlipShiftTTA(flip, shift)
    views(network, torch.zeros(1, 1, 4, 4))
    assert (len(shown), str(views)) == (count, f"{count} views of each image")


def succeed(where: Path, name: str, *words: str) -> None:
    done = run_command(where, name, *words)
    assert done.status == 0, done.out + done.err


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("flip")
    settings = (
        "data.batch_size=64",
        "trainer.max_epochs=1",
        "optimizer.lr=0.05",
        "logger=none",
        "report=false",
        "seed=3",
    )
    succeed(where, "train", "data=digits", "test_time=flip", *settings)
    return where / "run"


def test_evaluate_shows_the_views_of_training(run: Path, tmp_path: Path) -> None:
    checkpoint = f"checkpoint={run / 'checkpoints/best.ckpt'}"
    trained = json.loads((run / "metrics.json").read_text())
    for name, words in (("as_trained", ()), ("once", ("test_time=none",))):
        succeed(tmp_path, "evaluate", checkpoint, *words, f"hydra.run.dir={name}")
    as_trained, once = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("as_trained", "once"))
    assert as_trained["test/loss"] == pytest.approx(trained["test/loss"], rel=ROUNDING)
    assert as_trained["test/accuracy"] == trained["test/accuracy"]
    assert once["test/loss"] != pytest.approx(trained["test/loss"], rel=1e-3)


def test_predict_takes_an_image_and_its_mirror_image_for_the_same(run: Path, tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8), dtype=np.uint8)
    images = tmp_path / "images"
    images.mkdir()
    Image.fromarray(pixels).save(images / "a.png")
    Image.fromarray(pixels[:, ::-1].copy()).save(images / "b.png")
    checkpoint = f"checkpoint={run / 'checkpoints/best.ckpt'}"
    succeed(tmp_path, "predict", checkpoint, f"images={images}", "pictures=0", "hydra.run.dir=predict")
    with (tmp_path / "predict/predictions.csv").open(newline="") as stream:
        one, other = csv.DictReader(stream)
    assert one["class_1"] == other["class_1"]
    assert float(one["probability_1"]) == pytest.approx(float(other["probability_1"]), abs=ROUNDING)
