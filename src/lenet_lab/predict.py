"""Classify images with a checkpoint: `python -m lenet_lab.predict checkpoint=PATH images=FILE_OR_FOLDER`."""

import math
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lenet_lab.command import run_command
from lenet_lab.config_dir import import_from
from lenet_lab.errors import IncompleteError, UserError
from lenet_lab.imports import import_quickly
from lenet_lab.wording import counted

if TYPE_CHECKING:
    from lenet_lab.prediction.classify import Prediction
    from lenet_lab.prediction.explanation import Explainer
    from lenet_lab.trained_network import TrainedNetwork


def complete(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the checkpoint says of its model, and check the configuration."""
    from lenet_lab.extras import need
    from lenet_lab.schema import PredictConfig, check_with_taken

    if config.get("explain") is True:
        need("captum", "explain", "explain=true")
    import_quickly("lightning.pytorch")
    from lenet_lab.from_checkpoint import checkpoint_path, fill_in

    fill_in(config, checkpoint_path(config), ("task",))
    return check_with_taken(config, PredictConfig)


def run(config: dict[str, Any]) -> dict[str, Any]:
    """Predict on this device, from a checked configuration.

    Returns:
        `images`: how many were read; `counts`: by class, how many were taken for it.

    Raises:
        IncompleteError: some files could not be read; the others are done.
        UserError: none could, or see `lenet_lab.prediction.find.find_images`.
    """
    import_from(config)
    import torch
    from rich.text import Text

    from lenet_lab import terminal
    from lenet_lab.devices import threads_for
    from lenet_lab.from_checkpoint import load_offered
    from lenet_lab.prediction.classify import choose_device
    from lenet_lab.prediction.find import find_images
    from lenet_lab.prediction.report import Ranks, count_table, picture, unread_table

    folder = Path(config["folder"])
    terminal.open_log(folder / "predict.log")
    files = find_images(config["images"])
    trained: TrainedNetwork = load_offered(config, Path(config["checkpoint"]), "predictor", "predict")
    classes = trained.classes
    device = choose_device(config["device"])
    trained.network.to(device)
    trained.normalize.to(device)
    values = min(config["batch_size"], len(files)) * math.prod(trained.format.shape)
    # half of the cores: the others decode, and threads that must wait for a core slow each other (`let_threads_sleep`)
    torch.set_num_threads(config["threads"] or max(threads_for(values) // 2, 1))
    explainer = _explainer(config, trained)
    facts = {
        "checkpoint": terminal.short(Path(config["checkpoint"])),
        "images": f"{len(files):,}, shown to the network as {'x'.join(map(str, trained.format.shape))}",
        "model": f"{type(trained.network).__name__}, {len(classes):,} classes",
        "explained by": explainer.description if explainer else "",
        "device": f"{device.type}, {counted(torch.get_num_threads(), 'CPU thread')}",
    }
    terminal.show_facts("predict", facts, folder)

    first, unread, counts = _predict(config, trained, files)
    written = {"predictions": folder / "predictions.csv"}
    if first:
        terminal.show(Ranks(first, classes))
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


def _explainer(config: dict[str, Any], trained: "TrainedNetwork") -> "Explainer | None":
    if not config["explain"]:
        return None
    from lenet_lab.prediction.explanation import Explainer

    return Explainer(trained, config["method"])


def _predict(
    config: dict[str, Any], trained: "TrainedNetwork", files: Sequence[str | bytes]
) -> "tuple[list[Prediction], list[Prediction], Counter[int]]":
    """Write `predictions.csv`; give the first predictions, what could not be read, and how many each class has."""
    from tqdm import tqdm

    from lenet_lab.prediction.classify import classify
    from lenet_lab.prediction.find import shown
    from lenet_lab.prediction.report import PredictionsFile
    from lenet_lab.whole_file import whole

    first: list[Prediction] = []
    unread: list[Prediction] = []
    counts: Counter[int] = Counter()
    with whole(Path(config["folder"]) / "predictions.csv") as stream:
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


if __name__ == "__main__":
    run_command("predict", complete, run, sweeps=False, paths=("checkpoint", "images"))
