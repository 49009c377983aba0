"""From a module to a program that needs no Python of this project."""

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
    """Follow the module once, for any number of samples; it loses its gradients.

    Raises:
        UserError: its `forward` does what torch.export cannot follow.
    """
    inputs = tuple(exportable.example(2).values())  # 1 would be taken for a constant
    any_number = tuple({0: Dim("N")} for _ in inputs)
    exportable.module.requires_grad_(False).eval()
    try:
        with _without_graphs_of_failures():
            program = torch.export.export(exportable.module, inputs, dynamic_shapes=any_number)
    except Exception as error:  # whatever the network of a user, or torch.export for it, may raise
        raise cannot(exportable, "torch.export", error) from error
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # paths and lines of this machine's files
    return program


@contextmanager
def _without_graphs_of_failures() -> Iterator[None]:
    """Keep from the terminal the graph that torch.export prints before it raises, and what means nothing to a user."""
    logger = logging.getLogger("torch.fx.experimental.symbolic_shapes")  # "Unable to find user code"
    level, printed = logger.level, io.StringIO()
    logger.setLevel(logging.ERROR)
    try:
        with redirect_stderr(printed), warnings.catch_warnings():
            # of nn.LSTM and its like, whose forward sets them
            warnings.filterwarnings("ignore", message=".*_flat_weights.* were assigned during export")
            yield
        sys.stderr.write(printed.getvalue())
    finally:
        logger.setLevel(level)


def cannot(exportable: Exportable, what: str, error: Exception, cure: str = "") -> UserError:
    """Explain in two lines that a network is beyond what exports it, and why."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip(" -") for line in str(cause).splitlines() if line.strip()]
    broken = [line for line in lines if line.startswith(("You marked N", "Not all values of N"))]
    reason = (broken or [one_line(cause)])[0].split(" If you're using")[0]
    place = next((lines[row + 1] for row, line in enumerate(lines[:-1]) if line.endswith("raised this error:")), "")
    return UserError(
        f"model {model_name(exportable)} cannot be exported{cure}. {what} says of it, for N samples:\n"
        + " ".join(filter(None, (reason, place)))
    )


def model_name(exportable: Exportable) -> str:
    """Return the name of what is exported."""
    return exportable.name or type(exportable.module).__name__
