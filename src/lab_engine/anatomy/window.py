"""The sliding window of a convolution or pooling, and its formula for the output size."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import fx

from lab_engine.anatomy.graph import arguments, operation, shape

Pair = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """The sliding window of an operation; all sizes are (vertical, horizontal), in pixels.

    Attributes:
        kernel: size of the kernel.
        stride: from one position to the next.
        padding: on each side.
        dilation: distance between neighbouring elements of the kernel.
        input_size: of the feature map.
        output_size: of the feature map.
        rounds_up: the `ceil_mode` of the pooling.
    """

    kernel: Pair
    stride: Pair
    padding: Pair
    dilation: Pair
    input_size: Pair
    output_size: Pair
    rounds_up: bool = False

    @property
    def formulas(self) -> tuple[str, ...]:
        """N = (W − F + 2P) / S + 1 in numbers: one line, or two if height and width differ.

        With dilation D, F is replaced by D · (F − 1) + 1, the extent of the kernel.
        """
        each = (self.kernel, self.stride, self.padding, self.dilation, self.input_size, self.output_size)
        return tuple(dict.fromkeys(self._formula(*(pair[side] for pair in each)) for side in (0, 1)))

    def _formula(self, kernel: int, stride: int, padding: int, dilation: int, before: int, after: int) -> str:
        steps, rest = divmod(before - dilation * (kernel - 1) - 1 + 2 * padding, stride)
        if steps + bool(rest and self.rounds_up) + 1 != after:
            return f"{after}, as padding='same' keeps it"  # an even kernel has unequal padding
        span = f"{kernel}" if dilation == 1 else f"({dilation}·({kernel} − 1) + 1)"
        quotient = f"({before} − {span} + 2·{padding}) / {stride}"
        if rest:
            quotient = f"⌈{quotient}⌉" if self.rounds_up else f"⌊{quotient}⌋"
        return f"{quotient} + 1 = {after}"


def window(node: fx.Node) -> Window | None:
    """Return the window of an operation of an exported graph; None if it is no convolution or pooling."""
    name = operation(node)
    if name == "conv2d":
        given = arguments(node, "input", "weight", "bias", "stride", "padding", "dilation")
        kernel, dilation, padding = _pair(shape(given["weight"])[-2:]), _pair(given.get("dilation", 1)), (0, 0)
        if given.get("padding") == "same":
            padding = (dilation[0] * (kernel[0] - 1) // 2, dilation[1] * (kernel[1] - 1) // 2)
        elif given.get("padding") != "valid":
            padding = _pair(given.get("padding", 0))
        return Window(kernel, _pair(given.get("stride", 1)), padding, dilation, *_sizes(node))
    if name in ("max_pool2d", "avg_pool2d"):
        dilation_of_max = ("dilation",) if name == "max_pool2d" else ()
        given = arguments(node, "input", "kernel_size", "stride", "padding", *dilation_of_max, "ceil_mode")
        kernel = _pair(given["kernel_size"])
        return Window(
            kernel,
            _pair(given.get("stride") or kernel),
            _pair(given.get("padding", 0)),
            _pair(given.get("dilation", 1)),
            *_sizes(node),
            rounds_up=given.get("ceil_mode", False),
        )
    if name in ("adaptive_avg_pool2d", "adaptive_max_pool2d"):
        before, after = _sizes(node)
        if before[0] % after[0] == before[1] % after[1] == 0:  # equal windows, as in an ordinary pooling
            step = (before[0] // after[0], before[1] // after[1])
            return Window(step, step, (0, 0), (1, 1), before, after)
    return None


def _sizes(node: fx.Node) -> tuple[Pair, Pair]:
    return _pair(shape(node.args[0])[-2:]), _pair(shape(node)[-2:])


def _pair(value: Any) -> Pair:
    values = value if isinstance(value, Sequence) else [value]
    return values[0], values[-1]
