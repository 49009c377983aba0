"""Trace a module with torch.export, and explain why it fails."""

import io
import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr

import torch
from torch.export import Dim, ExportedProgram

from lab_engine.base.errors import UserError
from lab_engine.config.explain import one_line
from lab_engine.training.interface import Exportable


def trace(exportable: Exportable) -> ExportedProgram:
    """Export the module for any number of samples; sets it to evaluation mode and switches its gradients off.

    Raises:
        UserError: torch.export cannot trace its `forward`.
    """
    inputs = tuple(exportable.example(2).values())  # torch.export takes a size of 1 for a constant
    any_number = tuple({0: Dim("N")} for _ in inputs)
    exportable.module.requires_grad_(False).eval()
    try:
        with _quiet():
            program = torch.export.export(exportable.module, inputs, dynamic_shapes=any_number)
    except Exception as error:  # a user's network may raise anything
        raise export_error(exportable, "torch.export", error) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # it holds paths of this machine
    return program


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide the graph that torch.export prints before it raises, and warnings that do not help a user."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")  # "Unable to find user code"
    level, printed = logger.level, io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(printed), warnings.catch_warnings():
            # from nn.LSTM and similar modules, whose forward sets them
            warnings.filterwarnings("ignore", message=".*_flat_weights.* were assigned during export")
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        logger.setLevel(level)


def export_error(exportable: Exportable, exporter: str, error: Exception, cure: str = "") -> UserError:
    """Return an error of two lines that says why `exporter` cannot export the network."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip(" -") for line in str(cause).splitlines() if line.strip()]
    violations = [line for line in lines if line.startswith(("You marked N", "Not all values of N"))]
    reason = (violations or [one_line(cause)])[0].split(" If you're using")[0]
    place = next((lines[row + 1] for row, line in enumerate(lines[:-1]) if line.endswith("raised this error:")), "")
    return UserError(
        f"model {model_name(exportable)} cannot be exported{cure}. Error of {exporter}, for N samples:\n"
        + " ".join(filter(None, (reason, place)))
    )


def model_name(exportable: Exportable) -> str:
    """Return the name of the exported network."""
    return exportable.name or type(exportable.module).__name__
