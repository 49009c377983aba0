"""What `page.html` shows of a run, from what the run knows at its end and from the files in its folder."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
from jinja2 import Environment as Templates
from jinja2 import StrictUndefined
from markupsafe import Markup
from omegaconf import OmegaConf

from lenet_lab.callbacks.predictions import Predictions
from lenet_lab.checkpoint import read_checkpoint
from lenet_lab.classifier import Classifier
from lenet_lab.curves import read_curves
from lenet_lab.data.datamodule import ImageDataModule
from lenet_lab.environment import Environment, Git, read_environment, without_passwords
from lenet_lab.report.chart import Line, line_chart
from lenet_lab.report.samples import draw_samples
from lenet_lab.terminal import short

PAGE = Path(__file__).with_name("page.html")
LOOK = Path(__file__).parents[1] / "look.css"
TEMPLATE = Templates(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True).from_string(
    PAGE.read_text(encoding="utf-8")
)
"""Every value in it is escaped, but those that are marked as HTML of our own."""
MOST_CLASSES = 128  # of a confusion matrix that is shown; it has their square of cells
MOST_PAIRS = 100  # of classes that are confused, where there is no matrix
LEAST_SHADE = 0.12  # of a cell that is not empty
STRONG = {True: 0.87, False: 0.78}  # shades of right ones and mistakes on which white reads better than black, by day

Confusion = npt.NDArray[np.int64]
"""(true class, predicted class): images."""


@dataclass(frozen=True)
class ClassRow:
    """A class: its name, its images, its accuracy as a fraction (None without images), what it is mostly taken for."""

    name: str
    images: int
    accuracy: float | None
    taken_for: str


@dataclass(frozen=True)
class Cell:
    """A cell of the matrix: images, how strong its colour is (0 to 1), its classes in CSS, and all that in words."""

    images: int
    shade: float
    classes: str
    title: str


def to_html(
    config: Mapping[str, Any],
    data: ImageDataModule,
    classifier: Classifier,
    metrics: Mapping[str, float],
    best: str,
    predictions: Predictions,
) -> str:
    """Give a page that needs no other file and no network, and holds no script.

    Args:
        config: of the run, checked.
        data: set up.
        classifier: with the weights that were tested.
        metrics: as in `metrics.json`.
        best: path of the chosen checkpoint, or empty if there is none.
        predictions: of the test.
    """
    folder = Path(config["folder"])
    curves = read_curves(folder / "curves.csv")
    environment = read_environment(folder)
    chosen = _chosen(best, curves)
    classes, confusion = data.test.classes, predictions.confusion
    count = int(confusion.sum())
    return TEMPLATE.render(
        look=Markup(LOOK.read_text(encoding="utf-8")),  # noqa: S704 - ours
        name=folder.name or "/",
        accuracy=percent(metrics["test/accuracy"]),
        folder=short(folder),
        when=_when(environment),
        command=environment.command if environment else "",
        facts=_facts(config, data, classifier, metrics, chosen, bool(best)),
        charts=[
            line_chart("Loss", [_line("train/loss", curves), _line("val/loss", curves)], chosen=chosen),
            line_chart("Accuracy", [_line("val/accuracy", curves)], percent=True, chosen=chosen),
        ],
        chosen=chosen,
        validations=len(curves),
        not_finite=sum(not math.isfinite(value) for row in curves for value in row.values()),
        count=count,
        rows=_class_rows(confusion, classes),
        classes=classes,
        matrix=_matrix(confusion, classes) if len(classes) <= MOST_CLASSES else [],
        pairs=_pairs(confusion, classes) if len(classes) > MOST_CLASSES else [],
        samples=draw_samples(data.test, predictions),
        share=len(predictions.rows) if len(predictions.rows) < count else 0,
        config=without_passwords(OmegaConf.to_yaml(dict(config))),
        environment=_environment_rows(environment),
    )


def percent(fraction: float | None) -> str:
    """Write a fraction as the other report does; "–" for None."""
    return "–" if fraction is None else f"{100 * fraction:.2f} %"


def _chosen(best: str, curves: Sequence[Mapping[str, float]]) -> float | None:
    """The epoch after which the chosen checkpoint was written, if `curves.csv` has it."""
    if not best:
        return None
    step = read_checkpoint(Path(best))["global_step"]
    return next((row["epoch"] for row in curves if row["step"] == step), None)


def _line(name: str, curves: Sequence[Mapping[str, float]]) -> Line:
    return Line(name, [(row["epoch"], row[name]) for row in curves if name in row])


def _when(environment: Environment | None) -> str:
    """Say when the run began, and how long it took, or when it ended if it has been interrupted between."""
    ended = datetime.now().astimezone().replace(microsecond=0)
    if environment is None:
        return f"Ended {_time(ended)}"
    started = environment.started
    if started.timestamp() < psutil.Process().create_time() - 1:  # noted by an earlier process of this run
        return f"Started {_time(started)}, interrupted, ended {_time(ended)}"
    return f"Started {_time(started)}, took {duration((ended - started).total_seconds())}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M:%S %Z").strip()


def duration(seconds: float) -> str:
    """Write seconds as a person would: 4 s, 0:03:12."""
    return f"{seconds:.3g} s" if seconds < 60 else str(timedelta(seconds=round(seconds)))


def _facts(
    config: Mapping[str, Any],
    data: ImageDataModule,
    classifier: Classifier,
    metrics: Mapping[str, float],
    chosen: float | None,
    has_checkpoint: bool,
) -> list[tuple[str, str, str]]:
    """Name, value and a line more of each."""
    parameters = sum(parameter.numel() for parameter in classifier.network.parameters())
    epochs = config["trainer"]["max_epochs"]
    of = "the last weights" if not has_checkpoint else "the chosen checkpoint"
    after = "" if chosen is None else f", epoch {chosen:g} of {epochs}"

    def measured(stage: str) -> str:
        return f"{metrics[f'{stage}/count']:,} images, loss {metrics[f'{stage}/loss']:.4f}"

    channels, height, width = data.test.image_shape
    images = f"{len(data.train_rows):,} train, {len(data.validation_rows):,} validation, {len(data.test):,} test"
    return [
        ("test/accuracy", percent(metrics["test/accuracy"]), measured("test")),
        ("val/accuracy", percent(metrics["val/accuracy"]), f"{measured('val')}; {of}{after}"),
        (
            "training",
            duration(metrics["train/seconds"]),
            f"{metrics['train/steps']:,} steps, without validation and test",
        ),
        ("network", f"{parameters:,}", f"parameters of {type(classifier.network).__name__}"),
        ("images", f"{channels}×{height}×{width}", f"{config['choices']['data']}: {images}"),
    ]


def _class_rows(confusion: Confusion, classes: Sequence[str]) -> list[ClassRow]:
    rows = []
    for number, name in enumerate(classes):
        images, right = int(confusion[number].sum()), int(confusion[number, number])
        others = confusion[number].copy()
        others[number] = 0
        most = int(others.argmax())
        taken = f"{classes[most]} ({others[most]:,})" if others[most] else "–"
        rows.append(ClassRow(name, images, right / images if images else None, taken))
    return rows


def _matrix(confusion: Confusion, classes: Sequence[str]) -> list[list[Cell]]:
    """Colours go by the share of a class's images; mistakes by its root, for most are few."""
    share = confusion / np.maximum(confusion.sum(1, keepdims=True), 1)

    def cell(true: int, predicted: int) -> Cell:
        images, part = int(confusion[true, predicted]), float(share[true, predicted])
        right = true == predicted
        title = f"{classes[true]}, taken for {classes[predicted]}: {images:,} ({100 * part:.1f} %)" if images else ""
        shade = max(part if right else math.sqrt(part), LEAST_SHADE)
        names = [name for name, holds in (("right", right), ("strong", shade > STRONG[right])) if holds]
        return Cell(images, round(shade, 2), " ".join(names), title)

    numbers = range(len(classes))
    return [[cell(true, predicted) for predicted in numbers] for true in numbers]


def _pairs(confusion: Confusion, classes: Sequence[str]) -> list[tuple[str, str, int]]:
    """True class, predicted class and images of the most frequent mistakes."""
    mistakes = confusion.copy()
    np.fill_diagonal(mistakes, 0)
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_PAIRS]
    places = zip(*np.unravel_index(order, mistakes.shape), strict=True)
    return [
        (classes[true], classes[taken], int(mistakes[true, taken])) for true, taken in places if mistakes[true, taken]
    ]


def _environment_rows(environment: Environment | None) -> list[tuple[str, str]]:
    if environment is None:
        return []
    rows = {
        **environment.versions,
        "system": environment.system,
        "processor": environment.cpu,
        "cores": f"{environment.cores}",
        "memory": f"{environment.memory_gb:g} GB",
        "computed on": environment.device,
        "GPUs": ", ".join(environment.gpus),
        "git": _git(environment.git),
        "data": f"SHA-256 {environment.data[:16]}…" if environment.data else "",
    }
    return [(name, value) for name, value in rows.items() if value]


def _git(git: Git) -> str:
    if git.commit is None:
        return f"not known: {git.reason}"
    on = f" on {git.branch}" if git.branch else ""
    return f"{git.commit}{on}, {'with changes that are not committed' if git.dirty else 'nothing changed since'}"
