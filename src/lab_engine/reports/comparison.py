"""Compare the results of a run and its repetition, and list what could explain a difference."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from rich.text import Text

from lab_engine.artifacts.checkpoint import read_checkpoint
from lab_engine.artifacts.environment import read_environment
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.errors import UserError
from lab_engine.base.git import PATCH
from lab_engine.base.program import short

FILE = "comparison.json"
IGNORED_METRICS = {"train/seconds"}  # differs in every run
IGNORED_FACTS = {"started", "command"}  # of an environment: they change no result
MAX_LINES = 8  # of metrics or of causes, on the terminal; the file has all of them


class Comparison(BaseModel):
    """The result of a comparison, as written to `comparison.json`.

    Attributes:
        of: the folder of the first run.
        same: whether all weights are equal bit for bit, and all metrics except times.
        weights: number of tensors in `checkpoints/best.ckpt`; None if neither run has the file.
        different: names of tensors that differ, or that only one run has.
        largest: largest absolute difference of two weights; None if no tensors could be subtracted.
        metrics: those that differ: values of the first run and of the repetition; None if missing or not finite.
        causes: recorded facts that differ and could explain the difference, in the same order, as text.
    """

    of: str
    same: bool
    weights: int | None
    different: list[str]
    largest: float | None
    metrics: dict[str, tuple[float | None, float | None]]
    causes: dict[str, tuple[str, str]]


def compare(original: Path, repeated: Path) -> Comparison:
    """Compare the results in the folders of two finished runs.

    Raises:
        UserError: a checkpoint cannot be read.
    """
    first, second = (_weights(folder) for folder in (original, repeated))
    names = sorted({*(first or {}), *(second or {})})
    different = [name for name in names if not _same((first or {}).get(name), (second or {}).get(name))]
    metrics = _metrics(original, repeated)
    return Comparison(
        of=str(original),
        same=not different and not metrics,
        weights=len(names) if names else None,
        different=different,
        largest=max(_distances(first or {}, second or {}, different), default=None),
        metrics=metrics,
        causes=dict(_causes(original, repeated)),
    )


def refuse_unreadable(folder: Path, weights: bool) -> None:
    """Check, before a run is repeated, that its results can be read for the comparison.

    Args:
        folder: of the first run.
        weights: whether it must hold `checkpoints/best.ckpt`.

    Raises:
        UserError: the checkpoint is missing, or metrics or checkpoint cannot be read.
    """
    if _weights(folder) is None and weights:
        raise UserError(f"from={folder}: there is no checkpoints/best.ckpt to compare with. Restore the file.")
    _results(folder)


def _results(folder: Path) -> dict[str, float | None]:
    file = folder / "metrics.json"
    try:
        return TypeAdapter(dict[str, float | None]).validate_json(file.read_bytes())
    except ValidationError as error:
        raise UserError(f"{file} does not hold the metrics of a run, so there is nothing to compare with.") from error


def _weights(folder: Path) -> dict[str, torch.Tensor] | None:
    file = folder / "checkpoints" / "best.ckpt"
    if not file.exists():
        return None
    weights: dict[str, torch.Tensor] = read_checkpoint(file)["state_dict"]
    return weights


def _same(first: torch.Tensor | None, second: torch.Tensor | None) -> bool:
    """Compare bit for bit: for `torch.equal`, 0 equals -0, and NaN does not equal NaN."""
    if first is None or second is None or first.dtype != second.dtype or first.shape != second.shape:
        return False
    return torch.equal(*(tensor.contiguous().flatten().view(torch.uint8) for tensor in (first, second)))


def _distances(
    first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor], names: list[str]
) -> Iterator[float]:
    for name in names:
        if name in first and name in second and first[name].shape == second[name].shape and first[name].numel():
            distance = float((first[name].double() - second[name].double()).abs().max())
            if not math.isnan(distance):
                yield distance


def _metrics(original: Path, repeated: Path) -> dict[str, tuple[float | None, float | None]]:
    first, second = _results(original), _results(repeated)
    names = [name for name in {**first, **second} if name not in IGNORED_METRICS]
    return {name: (first.get(name), second.get(name)) for name in names if first.get(name) != second.get(name)}


def _causes(original: Path, repeated: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    first, second = (dict(_flat(_environment(folder))) for folder in (original, repeated))
    for name in {**first, **second}:
        values = first.get(name, "not recorded"), second.get(name, "not recorded")
        if values[0] != values[1]:
            yield name, values
    patches = [_content(folder / PATCH) for folder in (original, repeated)]
    if patches[0] != patches[1]:
        yield "uncommitted changes", tuple(PATCH if patch else "none" for patch in patches)  # type: ignore[misc]


def _environment(folder: Path) -> dict[str, Any]:
    environment = read_environment(folder)
    return environment.model_dump(exclude=IGNORED_FACTS) if environment else {}


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        elif value not in (None, "", []):
            yield prefix + key, str(value)


def _content(file: Path) -> bytes:
    return file.read_bytes() if file.exists() else b""


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write `comparison.json`."""
    atomic_write(folder / FILE, comparison.model_dump_json(indent=1) + "\n", errors="replace")


def comparison_lines(comparison: Comparison, folder: Path) -> list[Text]:
    """Return lines for the terminal; `folder` is that of the repetition."""
    of, file = short(Path(comparison.of)), short(folder / FILE)
    if comparison.same:
        weights = "" if comparison.weights is None else "the weights of best.ckpt bit for bit, and "
        return [Text(f"the same   as {of}: {weights}all metrics", style="green")]
    lines = [Text(f"not the same as {of}:", style="bold yellow")]
    if comparison.different:
        largest = "" if comparison.largest is None else f", by {comparison.largest:.3g} at most"
        lines.append(Text(f"  weights: {len(comparison.different)} of {comparison.weights} tensors differ{largest}"))
    lines += _some([f"  {name}: {_number(old)}, now {_number(new)}" for name, (old, new) in comparison.metrics.items()])
    if comparison.causes:
        lines.append(Text("what differs and could explain it:"))
        lines += _some([f"  {name}: {old}, now {new}" for name, (old, new) in comparison.causes.items()])
    else:
        lines.append(
            Text("nothing that is recorded differs: a part of the run is not deterministic, or its folder was changed")
        )
    return [*lines, Text(f"comparison {file}")]


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _some(lines: list[str]) -> list[Text]:
    rest = len(lines) - MAX_LINES
    return [Text(line) for line in [*lines[:MAX_LINES], *([f"  and {rest} more"] if rest > 0 else [])]]
