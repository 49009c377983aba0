"""The prediction of the classes of images by a checkpoint."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from rich.text import Text
from tqdm import tqdm

from lab_engine.base.atomic_write import open_atomic
from lab_engine.base.devices import threads_for
from lab_engine.base.errors import IncompleteError, UserError
from lab_engine.base.wording import counted
from lab_engine.config.check import check_with_taken
from lab_engine.prediction.find import find_images, shown
from lab_engine.training import terminal
from lab_engine.training.from_checkpoint import checkpoint_path, fill_in, load_offered
from lenet_lab.schema import PredictConfig
from lenet_lab.views.classify import Prediction, choose_device, classify
from lenet_lab.views.explanation import Explainer
from lenet_lab.views.prediction_report import PredictionsFile, RankTable, count_table, picture, unread_table
from lenet_lab.views.trained_network import TrainedNetwork


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the model that the checkpoint records, and check the configuration."""
    fill_in(config, checkpoint_path(config), PredictConfig, ("task",))
    return check_with_taken(config, PredictConfig)


def predict(config: dict[str, Any]) -> dict[str, Any]:
    """Predict on this device, from a checked configuration.

    Returns:
        `images`: how many were read; `counts`: how many of them were predicted as each class.

    Raises:
        IncompleteError: some files could not be read; the others are done.
        UserError: no file could be read, or see `lab_engine.prediction.find.find_images`.
    """
    folder = Path(config["folder"])
    terminal.open_log(folder / "predict.log", "lenet_lab")
    files = find_images(config["images"])
    trained: TrainedNetwork = load_offered(config, Path(config["checkpoint"]), "predictor", TrainedNetwork, "predict")
    classes = trained.classes
    device = choose_device(config["device"])
    trained.network.to(device)
    trained.normalize.to(device)
    values = min(config["batch_size"], len(files)) * math.prod(trained.format.shape)
    # half of the cores: the others decode, and threads that must wait for a core slow each other (`limit_busy_waiting`)
    torch.set_num_threads(config["threads"] or max(threads_for(values) // 2, 1))
    explainer = Explainer(trained, config["method"]) if config["explain"] else None
    facts = {
        "checkpoint": terminal.short(Path(config["checkpoint"])),
        "images": f"{len(files):,}, shown to the network as {'x'.join(map(str, trained.format.shape))}",
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
        terminal.show(Text(f"{name:<14}{terminal.short(file)}"))
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
        predictions = classify(trained, files, config["batch_size"], config["top_k"])
        quiet = not sys.stderr.isatty()
        for prediction in tqdm(predictions, "predicting", len(files), leave=False, unit=" images", disable=quiet):
            table.add(prediction)
            if prediction.problem:
                unread.append(prediction)
                continue
            counts[prediction.ranked[0][0]] += 1
            if len(first) < config["pictures"]:
                first.append(prediction)
        if not counts:
            many = f"None of the {len(files):,} files could be read. The first: " if len(files) > 1 else ""
            raise UserError(f"{many}{shown(files[0])} cannot be read: {unread[0].problem}")
    return first, unread, counts
