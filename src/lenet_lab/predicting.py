"""Prediction by a checkpoint: the classes of images, or the outputs for the samples of a data module."""

import math
from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object
from rich.text import Text

from lab_engine.base.atomic_write import open_atomic
from lab_engine.base.bar import Bar
from lab_engine.base.devices import threads_for
from lab_engine.base.errors import IncompleteError, UserError
from lab_engine.base.program import short
from lab_engine.base.wording import counted, shown
from lab_engine.config.check import check_with_taken
from lab_engine.prediction.find import find_images
from lab_engine.prediction.find import shown as shown_file
from lab_engine.prediction.samples import choose_device, predict_samples
from lab_engine.training import terminal
from lab_engine.training.from_checkpoint import checkpoint_path, fill_in, load_offered
from lenet_lab.schema import PredictConfig
from lenet_lab.views.predict_explanation import Explainer
from lenet_lab.views.predict_images import Prediction, classify
from lenet_lab.views.predict_tables import PredictionsFile, RankTable, count_table, picture, unread_table
from lenet_lab.views.trained_network import TrainedNetwork


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the task that the checkpoint records, and its data where they are predicted; check the configuration.

    Raises:
        UserError: a classifier of images gets no `images`, or another task gets some.
    """
    path, images = checkpoint_path(config), config["images"] is not None
    classifier = deepcopy(config)
    fill_in(classifier, path, PredictConfig, ("task",))
    name = classifier["task"]["_target_"].rpartition(".")[2]
    if _classifies(classifier["task"]["_target_"], images):
        if not images:
            raise UserError(
                f"images is missing: checkpoint={path} is of a {name}, which predicts files of images.\n"
                "Give images=FILE_OR_FOLDER."
            )
        option = config["choices"].get("data")
        keys = [f"data.{key}={shown(value)}" for key, value in config["data"].items() if value is not None]
        if given := [f"data={option}", *keys] if option else keys:
            raise UserError(
                f"{given[0]} is refused: a {name} predicts files of images.\nLeave it out; images= says which files."
            )
        return check_with_taken(classifier, PredictConfig)
    if images:
        raise UserError(
            f"images={shown(config['images'])} is refused: checkpoint={path} is of a {name}, which has no method "
            "predictor() for images.\nLeave it out to predict the test data, or give samples with data.predict."
        )
    fill_in(config, path, PredictConfig)
    return check_with_taken(config, PredictConfig)


def _classifies(target: str, images: bool) -> bool:
    """Return whether a task classifies images; where it is made by a function, or cannot be imported, `images` says."""
    try:
        task = get_object(target)
    except Exception:  # the refusal comes when the task is built
        return images
    return hasattr(task, "predictor") if isinstance(task, type) else images


def predict(config: dict[str, Any]) -> dict[str, Any]:
    """Predict images or samples of the data on this device, from a checked configuration."""
    terminal.open_log(Path(config["folder"]) / "predict.log", "lenet_lab")
    return predict_samples(config, "lenet_lab") if config["images"] is None else predict_images(config)


def predict_images(config: dict[str, Any]) -> dict[str, Any]:
    """Predict the classes of images.

    Returns:
        `images`: how many were read; `counts`: how many of them were predicted as each class.

    Raises:
        IncompleteError: some files could not be read; the others are done.
        UserError: no file could be read, or see `lab_engine.prediction.find.find_images`.
    """
    folder = Path(config["folder"])
    files, others = find_images(config["images"])
    trained: TrainedNetwork = load_offered(config, Path(config["checkpoint"]), "predictor", TrainedNetwork, "predict")
    classes = trained.classes
    device = choose_device(config["device"])
    trained.to(device)
    values = min(config["batch_size"], len(files)) * math.prod(trained.format.shape)
    # half of the cores: the others decode, and threads that must wait for a core slow each other (`limit_busy_waiting`)
    torch.set_num_threads(config["threads"] or max(threads_for(values) // 2, 1))
    explainer = Explainer(trained, config["method"]) if config["explain"] else None
    channels, height, width = trained.format.shape
    facts = {
        "checkpoint": short(Path(config["checkpoint"])),
        "images": f"{len(files):,}, shown to the network in {'grey' if channels == 1 else 'colour'}, {height}x{width}",
        "skipped": f"{counted(len(others), 'file')} of another kind, such as {shown_file(others[0])}" if others else "",
        "model": f"{type(trained.network).__name__}, {len(classes):,} classes",
        "explained by": explainer.description if explainer else "",
        "device": f"{device.type}, {counted(torch.get_num_threads(), 'CPU thread')}",
    }
    terminal.show_facts("lenet_lab predict", facts, folder)

    first, unread, counts = _predict(config, trained, files)
    written = {"predictions": folder / "predictions.csv"}
    if first:
        terminal.show(RankTable(first, classes))
        written["pictures"] = folder / "predictions.png"
        picture(first, classes).save(written["pictures"])
    if counts.total() > len(first):
        if first:
            terminal.show(Text(f"the first {len(first):,} of {counts.total():,} images", style="italic"))
            terminal.show(Text())
        terminal.show(count_table(counts, classes))
    if explainer:
        written["explanations"] = folder / "explanations.png"
        picture(first, classes, explainer).save(written["explanations"])
    if unread:
        terminal.show(Text())
        terminal.show(unread_table(unread))
    terminal.show(Text())
    for name, file in written.items():
        terminal.show(Text(f"{name:<14}{short(file)}"))
    if unread:
        raise IncompleteError(f"{len(unread):,} of {len(files):,} files could not be read; the others are done.")
    return {"images": counts.total(), "counts": {classes[number]: count for number, count in counts.items()}}


def _predict(
    config: dict[str, Any], trained: TrainedNetwork, files: Sequence[str | bytes]
) -> tuple[list[Prediction], list[Prediction], Counter[int]]:
    """Write `predictions.csv`; return the first predictions, the files that could not be read, and counts by class."""
    first: list[Prediction] = []
    unread: list[Prediction] = []
    counts: Counter[int] = Counter()
    with open_atomic(Path(config["folder"]) / "predictions.csv") as stream:
        table = PredictionsFile(stream, trained.classes, config["top_k"])
        with Bar("predicting", len(files), "image") as bar:
            for prediction in classify(trained, files, config["batch_size"], config["top_k"]):
                bar.advance()
                table.add(prediction)
                if prediction.problem:
                    unread.append(prediction)
                    continue
                counts[prediction.ranked[0][0]] += 1
                if len(first) < config["pictures"]:
                    first.append(prediction)
        if not counts:
            many = f"None of the {len(files):,} files could be read. The first: " if len(files) > 1 else ""
            raise UserError(f"{many}{shown_file(files[0])} cannot be read: {unread[0].problem}")
    return first, unread, counts
