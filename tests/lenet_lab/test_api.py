"""Training and trained tasks without a command."""

import csv
import multiprocessing
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image

from lab_engine.base.errors import UserError
from lenet_lab.api import compose, fit, load, predict
from lenet_lab.data.digits import Digits
from lenet_lab.models.lenet import LeNet
from tests.conftest import Command, Result

QUICK = ("data=digits", "data.batch_size=32", "trainer.max_epochs=1", "report=false", "logger=none")


def test_a_configuration_is_fitted_where_it_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = compose(*QUICK, folder=str(tmp_path / "new" / "run"))
    start_method = multiprocessing.get_start_method()
    metrics = fit(config)
    assert multiprocessing.get_start_method() == start_method  # it is that of the notebook, for its own processes
    assert {"test/accuracy", "val/loss", "train/steps"} <= metrics.keys()
    assert (tmp_path / "new" / "run" / "config.yaml").exists()
    assert "epoch 1/1" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds a run already"):
        fit(config)
    open_files = [Path(file.path).name for file in psutil.Process().open_files()]
    assert "train.log" not in open_files


def test_a_run_folder_gives_the_trained_task(digits_run: Result) -> None:
    images, labels = (getattr(Digits().load()[1], name) for name in ("images", "labels"))
    task = load(digits_run.folder)
    assert not task.training
    data = Digits(validation=0.1)
    with torch.no_grad():
        logits = task(data.prepare(torch.from_numpy(images), training=False))
    accuracy = (logits.argmax(1) == torch.from_numpy(labels)).double().mean()
    assert float(accuracy) == pytest.approx(digits_run.metrics["test/accuracy"])
    last = load(digits_run.folder / "checkpoints" / "last.ckpt")
    assert last.state_dict().keys() == task.state_dict().keys()


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"best\.ckpt: there is no such file"):
        load(tmp_path)


def test_weights_that_a_network_reads_are_named_where_they_are_missing(command: Command, tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "import torch\n"
        "from lenet_lab.models.lenet import LeNet\n"
        "def network(weights, **rest):\n"
        "    made = LeNet(**rest)\n"
        "    if weights is not None:\n"
        "        made.load_state_dict(torch.load(weights, weights_only=True))\n"
        "    return made\n"
    )
    option = tmp_path / "conf" / "model" / "own.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("defaults: [lenet, _self_]\n_target_: own.network\nweights: null\n")
    torch.save(LeNet(1, (32, 32), 10).state_dict(), tmp_path / "start.pt")
    words = ("--config-dir=conf", "model=own", f"model.weights={tmp_path}/start.pt", *QUICK)
    assert command("train", *words).status == 0
    (tmp_path / "start.pt").unlink()
    missing = command("train", *words, "hydra.run.dir=other")
    assert missing.status == 2
    assert missing.err == (
        f"error: model (own.network) cannot read a file. No such file or directory: {tmp_path}/start.pt\n"
    )
    again = ("evaluate", "--config-dir=conf", "checkpoint=run/checkpoints/best.ckpt", "hydra.run.dir=again")
    asked = command(*again)
    assert "no folder and no text is taken from a checkpoint" in asked.err
    found = command(*again, "+model.weights=null")  # all weights are in the checkpoint
    assert found.status == 0, found.err


def test_arrays_are_predicted_as_their_files_are(image_tree: Path, command: Command, tmp_path: Path) -> None:
    words = ("data=image_folder", f"data.root={image_tree}", "data.mean=[0.2,0.3,0.4]", "data.std=0.3")
    given = ("data.image_size=[24,40]", "data.resize=pad", "data.batch_size=8", "optimizer.lr=0.02")
    run = command("train", *words, *given, "trainer.max_epochs=1", "report=false", "logger=none").folder
    random = np.random.default_rng(0)
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((24, 40), (32, 32), (50, 20))]
    (tmp_path / "files").mkdir()
    for number, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / "files" / f"{number}.png")
    files = command(
        "predict", f"checkpoint={run}/checkpoints/best.ckpt", "images=files", "device=cpu", "hydra.run.dir=found"
    )
    with (files.folder / "predictions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    found = predict(run, images, device="cpu")
    assert found.names == [row["class_1"] for row in rows]
    assert found.classes == ("ant", "bee", "cow")
    assert found.probabilities.max(1) == pytest.approx([float(row["probability_1"]) for row in rows], abs=1e-5)
    one = predict(run, images[1])
    assert one.names == found.names[1:2]
    np.testing.assert_allclose(one.probabilities, found.probabilities[1:2], atol=1e-6)
    transparent = np.concatenate([images[1], random.integers(0, 256, (32, 32, 1), dtype=np.uint8)], axis=2)
    np.testing.assert_array_equal(predict(run, transparent).probabilities, one.probabilities)
    assert predict(run, np.empty((0, 32, 32, 3), np.uint8)).probabilities.shape == (0, 3)


def test_an_array_is_predicted_as_the_run_measures_it(digits_run: Result) -> None:
    test = Digits().load()[1]
    found = predict(digits_run.folder, test.images.transpose(0, 2, 3, 1))
    right = [test.classes[label] == name for label, name in zip(test.labels, found.names, strict=True)]
    assert sum(right) / len(right) == pytest.approx(digits_run.metrics["test/accuracy"])


@pytest.mark.parametrize(
    "images",
    [
        np.zeros((2, 32, 32, 1), np.float32),  # it cannot be known whether 1 or 255 is white
        np.zeros((2, 1, 32, 32), np.uint8),
        np.zeros((2, 32, 32), np.uint8),
        np.zeros((32, 32), np.uint8),
        np.zeros((2, 0, 32, 1), np.uint8),
    ],
    ids=lambda images: f"{images.dtype} {images.shape}",
)
def test_another_array_is_refused(images: np.ndarray, digits_run: Result) -> None:  # type: ignore[type-arg]
    with pytest.raises(UserError, match=r"An image is .*, and uint8 \(H, W, C\), 0 to 255, is needed"):
        predict(digits_run.folder, images)
