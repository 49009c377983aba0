"""Print the anatomy of a network as tables or as JSON."""

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from lab_engine.anatomy.gradients import IMAGES, BackwardNode, Gradient, Step
from lab_engine.anatomy.layers import Layer
from lab_engine.base.wording import counted
from lab_engine.training.terminal import LOG_WIDTH

SIZE_FORMULA = "N = (W − F + 2P) / S + 1"


@dataclass(frozen=True)
class Anatomy:
    """The anatomy of a network.

    Attributes:
        model: name of the network's class.
        image_shape: (C, H, W).
        num_classes: of the network.
        layers: in the order in which they run.
        parameters: of the whole network; more than the sum over its layers if some are never used.
        step: a training step, with gradients=true.
    """

    model: str
    image_shape: tuple[int, int, int]
    num_classes: int
    layers: list[Layer]
    parameters: int
    step: Step | None = None

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one image."""
        return sum(layer.macs for layer in self.layers)


def to_plain(anatomy: Anatomy) -> dict[str, Any]:
    """Return what `format=json` prints: the attributes, with shares of the total (0 to 1) and the size formulas."""
    plain = asdict(anatomy)
    for row, layer in zip(plain["layers"], anatomy.layers, strict=True):
        row["parameters_share"] = layer.parameters / max(anatomy.parameters, 1)
        row["macs_share"] = layer.macs / max(anatomy.macs, 1)
        row["sizes"] = layer.window.formulas if layer.window else ()
    return {**plain, "macs": anatomy.macs}


def print_json(anatomy: Anatomy) -> None:
    """Print the anatomy as JSON to standard output."""
    sys.stdout.write(json.dumps(to_plain(anatomy), indent=1) + "\n")


def print_tables(anatomy: Anatomy) -> None:
    """Print tables; if the terminal is too narrow for the size formulas, they follow in a table of their own."""
    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else LOG_WIDTH
    console = Console(highlight=False, width=wide)
    images = "x".join(map(str, anatomy.image_shape))
    console.print(f"{anatomy.model} for {images} images, {anatomy.num_classes} classes", style="bold")
    table = _layers(anatomy, with_sizes=True)
    fits = Measurement.get(console, console.options.update(width=10_000), table).maximum <= console.width
    if not fits:
        table = _layers(anatomy, with_sizes=False)
        # if even that is too wide, the terminal breaks lines, but rich does not break numbers
        console.width = max(
            console.width, Measurement.get(console, console.options.update(width=10_000), table).maximum
        )
    console.print(table)
    if not fits and any(layer.window for layer in anatomy.layers):
        console.print()
        console.print(_sizes(anatomy.layers))
    console.print(_notes(anatomy))
    if anatomy.step:
        console.print(f"\nA training step on {IMAGES} random images: loss {anatomy.step.loss:.4f}", style="bold")
        console.print(_backward(anatomy.step.backward))
        console.print()
        console.print(_gradients(anatomy.step.gradients))
        console.print("\n|weight|, |gradient|: Euclidean norms before the update; ratio: gradient to weight.")


def _table(*columns: str, left: int = 1) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), show_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < left else "right", overflow="fold")
    return table


def _layers(anatomy: Anatomy, with_sizes: bool) -> Table:
    sizes = [SIZE_FORMULA] if with_sizes else []
    costs = ("parameters", "share", "MACs", "share", "field")
    table = _table("layer", "operation", "output", "F/S/P", *sizes, *costs, left=4 + with_sizes)
    for layer in anatomy.layers:
        formulas = ["\n".join(layer.window.formulas) if layer.window else ""] if with_sizes else []
        table.add_row(
            Text(layer.name),
            layer.operation,
            "x".join(map(str, layer.output)),
            _window(layer),
            *formulas,
            *_cost(layer.parameters, anatomy.parameters),
            *_cost(layer.macs, anatomy.macs),
            "?" if layer.receptive_field is None else "{}x{}".format(*layer.receptive_field),
        )
    table.add_section()
    gap = [""] * (3 + with_sizes)
    table.add_row("total", *gap, f"{anatomy.parameters:,}", "", f"{anatomy.macs:,}", "", "", style="bold")
    return table


def _window(layer: Layer) -> str:
    slides = layer.window
    if slides is None:
        return ""
    dilation = () if slides.dilation == (1, 1) else (slides.dilation,)
    each = (slides.kernel, slides.stride, slides.padding, *dilation)
    return "/".join(str(pair[0]) if pair[0] == pair[1] else "{}x{}".format(*pair) for pair in each)


def _cost(part: int, total: int) -> tuple[str, str]:
    return (f"{part:,}", f"{part / total:.1%}") if part else ("", "")


def _sizes(layers: Sequence[Layer]) -> Table:
    table = _table("layer", SIZE_FORMULA, left=2)
    for layer in layers:
        if layer.window:
            table.add_row(Text(layer.name or layer.operation), "\n".join(layer.window.formulas))
    return table


def _notes(anatomy: Anatomy) -> str:
    unused = anatomy.parameters - sum(layer.parameters for layer in anatomy.layers)
    lines = [
        (
            "\nF/S/P: kernel, stride and padding in pixels, then dilation where there is one. MACs: "
            "multiply-accumulates for one image in convolutions, matrix products and attention. "
            "field: the receptive field, height x width in pixels of the image."
        )
    ]
    if any(layer.receptive_field is None for layer in anatomy.layers):
        lines.append("?: the receptive field is not known after an operation that mixes or moves positions.")
    if anatomy.layers and anatomy.layers[-1].output != (anatomy.num_classes,):
        lines.append(
            f"The last output is not a vector of {anatomy.num_classes} logits: this network cannot be trained as it is."
        )
    if unused:
        lines.append(f"Never used when the network runs: {counted(unused, 'parameter')}.")
    return "\n".join(lines)


def _backward(nodes: Sequence[BackwardNode]) -> Table:
    table = _table("", "backward, from the loss", "next nodes", "gradient of", left=4)
    for node in nodes:
        table.add_row(str(node.number), node.function, ", ".join(map(str, node.next)), ", ".join(node.leaves))
    return table


def _gradients(gradients: Sequence[Gradient]) -> Table:
    table = _table("parameter", "shape", "|weight|", "|gradient|", "ratio", left=2)
    for parameter in gradients:
        norm, weight = parameter.gradient_norm, parameter.weight_norm
        row = ["none", ""] if norm is None else [f"{norm:.3g}", f"{norm / weight:.2g}" if weight else ""]
        table.add_row(Text(parameter.name), "x".join(map(str, parameter.shape)), f"{weight:.3g}", *row)
    return table
