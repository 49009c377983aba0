"""Seeded, class-balanced splits."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted

Rows = npt.NDArray[np.int64]


def stratified_fold(
    labels: npt.NDArray[np.int64], folds: int, fold: int, seed: int, classes: Sequence[str]
) -> tuple[Rows, Rows]:
    """Choose one of several parts at random, each of which has its share of every class.

    Args:
        labels: int64 (N,).
        folds: how many parts there are, two or more.
        fold: number of the part, from 0.
        seed: the same seed and labels give the same parts on every machine.
        classes: names of the classes, for a message.

    Returns:
        Rows left, rows chosen; int64, ascending, together all N.

    Raises:
        UserError: a class has fewer images than there are parts.
    """
    generator = np.random.default_rng(seed)
    part = np.empty(len(labels), dtype=np.int64)
    placed = 0  # classes go round: so the parts, too, differ by one image at most
    for label in np.unique(labels):
        rows = generator.permutation(np.flatnonzero(labels == label))
        if len(rows) < folds:
            raise UserError(
                f"data.folds={folds} is more than class {classes[label]!r} has: {counted(len(rows), 'train image')}.\n"
                "Give fewer folds, or add images to it."
            )
        part[rows] = (placed + np.arange(len(rows))) % folds
        placed += len(rows)
    return np.flatnonzero(part != fold), np.flatnonzero(part == fold)


def stratified_split(
    labels: npt.NDArray[np.int64], fraction: float, seed: int, classes: Sequence[str] = ()
) -> tuple[Rows, Rows]:
    """Choose the same fraction of every class at random.

    Args:
        labels: int64 (N,).
        fraction: of each class, above 0 and below 1; at least one image is chosen and one left.
        seed: the same seed and labels give the same split on every machine.
        classes: their names, for an error message; without them it has the class number.

    Returns:
        Rows left, rows chosen; int64, ascending, together all N.

    Raises:
        UserError: a class has fewer than two images.
    """
    generator = np.random.default_rng(seed)
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        if len(rows) < 2:
            name = repr(classes[label]) if classes else f"number {label}"
            raise UserError(f"Class {name} has 1 train image, and another is needed to validate on.\nAdd images to it.")
        count = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
        chosen[generator.permutation(rows)[:count]] = True
    return np.flatnonzero(~chosen), np.flatnonzero(chosen)
