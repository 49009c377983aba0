"""Write the two formats, ONNX and torch.export, and run their files."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.export import ExportedProgram

from lab_engine.base.devices import cores
from lab_engine.training.interface import Exportable, name_outputs

if TYPE_CHECKING:
    from onnx import GraphProto

Run = Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
"""Function from inputs by name, in the order of the file, to outputs by name."""


def write_onnx(
    program: ExportedProgram, exportable: Exportable, about: Mapping[str, Any], opset: int, file: Path
) -> None:
    """Write the model with its weights to one file; `about` becomes its `metadata_props`: text as it is, the rest JSON.

    Raises:
        torch.onnx.OnnxExporterError: ONNX has no equivalent of an operation of the network.
    """
    import onnx

    inputs = list(exportable.example(1))
    exported = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=opset,
        input_names=inputs,
        output_names=exportable.outputs,
        dynamic_shapes=({0: "N"}, *({} for _ in inputs[1:])),  # names the dimension; the program has it already
        verbose=False,
    )
    model = cast("torch.onnx.ONNXProgram", exported).model_proto  # None only without dynamo
    _strip(model.graph)
    onnx.helper.set_model_props(
        model, {key: value if isinstance(value, str) else json.dumps(value) for key, value in about.items()}
    )
    onnx.save(model, file)


def _strip(graph: "GraphProto") -> None:
    """Remove the Python source of each node: it holds paths of this machine, and is half of a small file."""
    for part in (*graph.input, *graph.output, *graph.value_info, *graph.initializer, *graph.node):
        del part.metadata_props[:]
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                _strip(inner)


def run_onnx(file: Path, threads: int | None = None) -> Run:
    """Open a file with onnxruntime on the CPU; `threads` defaults to all cores that this process may use."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or cores()
    options.log_severity_level = 3  # log errors only
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    outputs = [output.name for output in session.get_outputs()]

    def run(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        results = session.run(outputs, {name: tensor.numpy() for name, tensor in inputs.items()})
        return dict(zip(outputs, map(torch.from_numpy, results), strict=True))

    return run


def write_torch(program: ExportedProgram, about: Mapping[str, Any], file: Path) -> None:
    """Write the program with `extra_files(about)` to one file."""
    torch.export.save(program, file, extra_files=extra_files(about))


def extra_files(about: Mapping[str, Any]) -> dict[str, str]:
    """Return the `extra_files` of torch.export: `classes.json` if `about` has classes, the rest in `about.json`."""
    rest = {key: value for key, value in about.items() if key != "classes"}
    classes = {"classes.json": json.dumps(about["classes"])} if "classes" in about else {}
    return {**classes, "about.json": json.dumps(rest)}


def run_torch(file: Path, outputs: Sequence[str]) -> Run:
    """Open a file of torch.export; `outputs` names its outputs, in order."""
    module = torch.export.load(file).module()
    return lambda inputs: name_outputs(module(*inputs.values()), outputs)
