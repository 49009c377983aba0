"""A small line chart as SVG, in the colours of the page around it.

matplotlib would be far slower, and each job of a sweep has charts; it also cannot follow the page's dark mode.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

from markupsafe import Markup, escape

WIDTH, HEIGHT = 380, 230  # units of the SVG, about pixels on a phone
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 24, 34  # margins around the plot
MAX_MARKED = 15  # points of a line that get a marker each
MAX_POINTS = 400  # of a line; a longer one is reduced to the lowest and highest point of each stretch
MAX_TICKS = 5  # of each axis
MAX_NUMBER = 1e300  # beyond it, the difference of two numbers may overflow

Point = tuple[float, float]


@dataclass(frozen=True)
class Line:
    """A line of a chart.

    Attributes:
        name: for the legend.
        points: x and y; a y that is not finite leaves a gap.
    """

    name: str
    points: Sequence[Point]

    @property
    def finite(self) -> list[Point]:
        """The points that can be drawn."""
        return [point for point in self.points if _is_finite(point[1])]


@dataclass(frozen=True)
class Axis:
    """A linear map from values to positions.

    Attributes:
        ticks: values, in ascending order, from `low` to `high`.
        low: value at `start`.
        high: value at `end`.
        start: position in the SVG.
        end: position in the SVG.
    """

    ticks: Sequence[float]
    low: float
    high: float
    start: float
    end: float

    def position(self, value: float) -> float:
        """Return the position of a value."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def line_chart(name: str, lines: Sequence[Line], percent: bool = False, chosen: float | None = None) -> Markup:
    """Draw lines over epochs; empty if no point is finite.

    Args:
        name: of the chart, for screen readers.
        lines: at most two, which differ in colour and dash.
        percent: whether y is a fraction, to be shown in percent.
        chosen: an epoch to mark, such as that of the chosen checkpoint.
    """
    lines = [line for line in lines if line.finite]
    if not lines:
        return Markup("")
    x = _axis([x for line in lines for x, _ in line.points], LEFT, WIDTH - RIGHT, whole=True)
    y = _axis([y for line in lines for _, y in line.finite], HEIGHT - BOTTOM, TOP, maximum=1.0 if percent else math.inf)
    ranges = "; ".join(f"{line.name} {_first_to_last(line, percent)}" for line in lines)
    label = escape(f"{name} by epoch: {ranges}")
    parts = [
        f'<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">',
        *_grid(x, y, percent),
        *(_mark(x.position(chosen)) if chosen is not None and x.low <= chosen <= x.high else ()),
        *(part for number, line in enumerate(lines) for part in _line(line, number, x, y, percent)),
        "</svg>",
    ]
    return Markup("\n".join(parts))  # noqa: S704 - text is escaped, the rest is numbers


def _is_finite(number: float) -> bool:
    return math.isfinite(number) and abs(number) < MAX_NUMBER


def _first_to_last(line: Line, percent: bool) -> str:
    (_, first), (_, last) = line.finite[0], line.finite[-1]
    return f"from {_number(first, percent)} to {_number(last, percent)}"


def _number(number: float, percent: bool) -> str:
    return f"{number:.2%}" if percent else f"{number:.4g}"


def _axis(numbers: Sequence[float], start: float, end: float, whole: bool = False, maximum: float = math.inf) -> Axis:
    low, high = min(numbers), max(numbers)
    if high - low <= 1e-9 * max(abs(low), abs(high)) + 1e-300:  # all values are equal
        around = 1.0 if whole else max(abs(low) * 0.05, 1e-3)
        low, high = low - around, high + around
    step = _step((high - low) / MAX_TICKS, whole)
    if not whole:  # the ends are ticks
        low, high = step * math.floor(low / step), min(step * math.ceil(high / step), maximum)
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return Axis([step * number for number in range(first, last + 1)], low, high, start, end)


def _step(least: float, whole: bool) -> float:
    """Return the smallest round number that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= least * (1 - 1e-9))
    return max(step, 1.0) if whole else step


def _labels(ticks: Sequence[float], percent: bool) -> list[str]:
    scaled = [100 * tick if percent else tick for tick in ticks]
    step = min((after - before for before, after in pairwise(scaled)), default=1.0)
    unit = "%" if percent else ""
    if max(map(abs, scaled)) >= 1e5 or step < 1e-5:
        return [f"{number:.3g}{unit}" for number in scaled]
    decimals = max(-math.floor(math.log10(step) + 1e-6), 0)
    return [f"{number:.{decimals}f}{unit}" for number in scaled]


def _grid(x: Axis, y: Axis, percent: bool) -> Iterator[str]:
    for tick, label in zip(y.ticks, _labels(y.ticks, percent), strict=True):
        at = y.position(tick)
        yield f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - RIGHT}"/>'
        yield f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{label}</text>'
    for tick, label in zip(x.ticks, _labels(x.ticks, percent=False), strict=True):
        yield f'<text x="{x.position(tick):.1f}" y="{HEIGHT - BOTTOM + 15}" text-anchor="middle">{label}</text>'
    middle = (LEFT + WIDTH - RIGHT) / 2
    yield f'<text x="{middle}" y="{HEIGHT - 4}" text-anchor="middle">epoch</text>'


def _mark(at: float) -> Iterator[str]:
    yield f'<path class="chosen" d="M{at:.1f} {TOP}V{HEIGHT - BOTTOM}"/>'


def _line(line: Line, number: int, x: Axis, y: Axis, percent: bool) -> Iterator[str]:
    legend = LEFT + number * (WIDTH - LEFT - RIGHT) / 2
    yield f'<g class="line{number}"><path d="M{legend} 10h22"/>'
    yield f'<text x="{legend + 28}" y="14">{escape(line.name)}</text>'
    segments = [list(part) for finite, part in groupby(line.points, lambda point: _is_finite(point[1])) if finite]
    for segment in segments:
        path = " ".join(f"{x.position(at):.1f} {y.position(value):.1f}" for at, value in _downsample(segment))
        yield f'<path d="M{path}"/>'
    few = len(line.points) <= MAX_MARKED
    for segment in segments:
        for at, value in segment if few or len(segment) == 1 else ():  # a single point between gaps needs a marker
            centre = f'cx="{x.position(at):.1f}" cy="{y.position(value):.1f}"'
            title = escape(f"epoch {at:g}: {line.name} {_number(value, percent)}")
            yield f'<circle {centre} r="3"><title>{title}</title></circle>'
    yield "</g>"


def _downsample(points: Sequence[Point]) -> list[Point]:
    if len(points) <= MAX_POINTS:
        return list(points)
    size = math.ceil(len(points) / (MAX_POINTS / 2))
    found: list[Point] = []
    for first in range(0, len(points), size):
        stretch = points[first : first + size]
        ends = {min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
        found += sorted(ends)
    return found
