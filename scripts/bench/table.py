"""Tables of measurements, as Markdown and for the terminal, with rounded numbers."""

import math
import statistics
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from section import Aim, Section

Cell = str | float | int | None


def number(value: float) -> str:
    """Format with three significant digits, or all digits before the point, and commas between thousands."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:,.{min(max(digits, 0), 6)}f}"


def median_and_range(values: Sequence[float]) -> list[Cell]:
    """Return two cells: the median, and min–max."""
    return [statistics.median(values), f"{number(min(values))}–{number(max(values))}"]


def text_of(cell: Cell) -> str:
    """Return the text of a cell."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        return number(cell)
    return f"{cell:,}" if isinstance(cell, int) else cell


def verdict(aim: Aim) -> str:
    """Return one line about an aim."""
    found = {None: "not measured", True: "met", False: "MISSED"}[aim.met]
    return f"{aim.text}: {found}" + ("" if aim.value is None else f" ({number(aim.value)})")


def is_number(section: Section, column: int) -> bool:
    """Return whether a column is aligned right, because all its cells start with a digit."""
    cells = [text_of(row[column]) for row in section.rows]
    return all(not cell or cell.lstrip("+-−±≤≥~")[:1].isdigit() for cell in cells)


def markdown(section: Section) -> str:
    """Return heading, table and aims as Markdown."""
    columns = section.columns
    rule = [("---:" if is_number(section, column) else "---") for column in range(len(columns))]
    rows = [columns, rule, *([text_of(cell) for cell in row] for row in section.rows)]
    lines = [f"## {section.title}", "", section.about, ""]
    lines += [f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in rows]
    if section.aims:
        lines += ["", *(f"- {verdict(aim)}" for aim in section.aims)]
    return "\n".join(lines) + "\n"


def for_terminal(section: Section) -> RenderableType:
    """Return the same for the terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    for column, name in enumerate(section.columns):
        right = is_number(section, column)
        table.add_column(Text(name), justify="right" if right else "left", overflow="fold", no_wrap=False)
    for row in section.rows:
        table.add_row(*(Text(text_of(cell)) for cell in row))
    styles = {True: "green", False: "red", None: "dim"}
    aims = [Text(f"  {verdict(aim)}", style=styles[aim.met]) for aim in section.aims]
    return Group(Text(section.title, style="bold"), Text(section.about, style="dim"), table, *aims, Text())


def about_machine(facts: dict[str, Any]) -> list[str]:
    """Return lines about the machine, from `machine.describe`."""
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    cores = f"{facts['cores']} {'core' if facts['cores'] == 1 else 'cores'}"
    gpus = "".join(f", {gpu}" for gpu in facts["gpus"])
    lines = [f"{facts['cpu']} ({facts['vectors']}), {cores}, {facts['memory_gb']:g} GB{gpus}; {facts['system']}"]
    lines += [f"load average before {facts['load_average_before']:.2f}", versions]
    return [*lines, f"commit {facts['commit'] or 'unknown'}{', changed' if facts['dirty'] else ''}"]
