"""Analyze each operation of a network: output shape, size formula, parameters, cost, receptive field."""

import copy
import logging
import math
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from lab_engine.anatomy.graph import operation, shape
from lab_engine.anatomy.receptive_field import NOTHING, PIXEL, ReceptiveField, receptive_field
from lab_engine.anatomy.window import Window, window
from lab_engine.base.errors import UserError


@dataclass(frozen=True)
class Layer:
    """One operation, for one image.

    Attributes:
        name: of the innermost module that contains it, such as "features.0"; empty for the network itself.
        operation: such as "conv2d".
        output: shape, without a leading batch dimension of 1.
        window: of convolutions and poolings.
        parameters: number of those that no earlier operation uses.
        macs: multiply-accumulates.
        receptive_field: (height, width) in pixels of the image, on which one value of the output depends; None after
            an operation that is not known.
    """

    name: str
    operation: str
    output: tuple[int, ...]
    window: Window | None
    parameters: int
    macs: int
    receptive_field: tuple[int, int] | None


def analyze(network: nn.Module, image_shape: tuple[int, int, int]) -> list[Layer]:
    """Run a network on an image, operation by operation, in evaluation mode.

    The operations are those of `torch.export`. Multiply-accumulates are half of the operations that PyTorch's
    `FlopCounterMode` counts, for convolutions, matrix products and attention only: no biases, no recurrent layers.

    Args:
        network: takes float32 (B, C, H, W); a copy is used.
        image_shape: (C, H, W).

    Raises:
        UserError: `torch.export` cannot trace the network.
    """
    network = copy.deepcopy(network).eval()
    try:
        with warnings.catch_warnings(action="ignore"):  # deprecations inside torch
            logging.disable()  # the exception has the text of the log
            program = torch.export.export(network, (torch.zeros(1, *image_shape),), strict=False)
    except Exception as error:  # the network's code may raise anything
        raise UserError(
            f"{type(network).__name__} cannot be traced by torch.export: {str(error).splitlines()[0]}\n"
            f"Does it take images of shape {image_shape}? Its forward must not branch on values of pixels."
        ) from error
    finally:
        logging.disable(logging.NOTSET)
    recorder = _LayerRecorder(program, image_shape)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):  # the counter does not know the fused attention of CPUs
        recorder.run(*_inputs(program, torch.zeros(1, *image_shape)))
    return recorder.layers


def _inputs(program: ExportedProgram, images: Tensor) -> Iterable[Any]:
    """Yield the graph's inputs: parameters, buffers and constants, then the images."""
    for spec in program.graph_signature.input_specs:
        if spec.kind == InputKind.USER_INPUT:
            yield images
        elif spec.target in program.state_dict:
            yield program.state_dict[spec.target]
        else:
            yield program.constants[str(spec.target)]


class _LayerRecorder(fx.Interpreter):
    """Runs the graph and records each operation."""

    def __init__(self, program: ExportedProgram, image_shape: tuple[int, int, int]) -> None:
        super().__init__(program.graph_module)
        self.layers: list[Layer] = []
        self.image_size = image_shape[1:]
        self.parameters: Mapping[str, str] = program.graph_signature.inputs_to_parameters
        self.images = program.graph_signature.user_inputs
        self.counted: set[str] = set()
        self.fields: dict[fx.Node, ReceptiveField | None] = {}

    def run_node(self, n: fx.Node) -> Any:
        if n.op != "call_function":
            self.fields[n] = PIXEL if n.name in self.images else NOTHING
            return super().run_node(n)
        with FlopCounterMode(display=False) as counter:
            output = super().run_node(n)
        slides = window(n)
        self.fields[n] = receptive_field(n, slides, [self.fields[node] for node in n.all_input_nodes])
        if isinstance(output, Tensor):  # of a tuple, each tensor follows as its own operation
            self.layers.append(self._layer(n, slides, output, counter.get_total_flops() // 2))
        return output

    def _layer(self, node: fx.Node, slides: Window | None, output: Tensor, macs: int) -> Layer:
        field = self.fields[node]
        modules = list(node.meta.get("nn_module_stack", {}).values())
        return Layer(
            name=modules[-1][0] if modules else "",
            operation=operation(node),
            output=tuple(output.shape[1:] if output.shape[:1] == (1,) else output.shape),
            window=slides,
            parameters=sum(self._first_used(node.all_input_nodes)),
            macs=macs,
            receptive_field=field.clipped(self.image_size) if field else None,
        )

    def _first_used(self, nodes: Iterable[fx.Node]) -> Iterable[int]:
        for node in nodes:
            name = self.parameters.get(node.name)
            if name and name not in self.counted:
                self.counted.add(name)
                yield math.prod(shape(node))
