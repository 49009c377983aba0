"""The command `export`: write a trained module as a file for other programs."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from rich.text import Text
from torch import Tensor

from lab_engine.base.atomic_write import new_file
from lab_engine.base.errors import UserError
from lab_engine.base.extras import need
from lab_engine.base.program import short
from lab_engine.base.wording import counted
from lab_engine.config.check import check_with_taken
from lab_engine.config.explain import one_line
from lab_engine.config.schema import SUFFIX, ExportConfig
from lab_engine.export import files
from lab_engine.export.files import run_onnx, run_torch
from lab_engine.export.network import export_error, model_name, trace
from lab_engine.export.parity import Parity, compare
from lab_engine.training import terminal
from lab_engine.training.from_checkpoint import checkpoint_path, fill_in, load_offered
from lab_engine.training.interface import Exportable

NEWEST_OPSET = 23  # that PyTorch's exporter writes directly; for a newer one it would convert its own output
ONNX_PACKAGES = ("onnx", "onnxruntime", "onnxscript")
NAMES = {"onnx": "torch.onnx", "torch": "torch.export"}


def check(config: dict[str, Any], schema: type[ExportConfig]) -> dict[str, Any]:
    """Fill in the model that the checkpoint records; check the configuration, the packages it needs, and the file.

    Args:
        config: as Hydra composed it.
        schema: of the project.

    Raises:
        UserError: a value is refused, a package is missing, or the file exists.
    """
    fill_in(config, checkpoint_path(config), schema, ("task",))
    config = check_with_taken(config, schema)
    for package in ONNX_PACKAGES if config["format"] == "onnx" else ():
        need(package, "export", "format=onnx")
    if config["format"] == "onnx":
        config["opset"] = config["opset"] or NEWEST_OPSET
    file = Path(config["file"] or Path(config["folder"], "model" + SUFFIX[config["format"]]))
    if file.exists():
        raise UserError(f"{file} exists already, and is not overwritten.\nChoose another with file=PATH, or move it.")
    if config["file"] and not file.parent.is_dir():
        raise UserError(f"file={file}: there is no folder {file.parent}. Create it, or choose another.")
    return {**config, "file": str(file)}


def export(config: dict[str, Any], package: str, version: str) -> dict[str, Any]:
    """Write the file; keep it only if its outputs are those of PyTorch.

    Args:
        config: checked.
        package: of the project; its `version` is written into the file.
        version: of the package.

    Returns:
        `file`, its path, and `difference`: the largest between a value of its outputs and PyTorch's.

    Raises:
        UserError: the network cannot be exported.
        SystemExit: with status 1: the outputs of the file differ from PyTorch's.
    """
    checkpoint, file = Path(config["checkpoint"]), Path(config["file"])
    terminal.open_log(Path(config["folder"]) / "export.log", package)
    chosen = {} if config["input"] is None else {"pixels": config["input"]}
    exportable: Exportable = load_offered(config, checkpoint, "exportable", Exportable, "export", **chosen)
    facts = {**exportable.metadata, "checkpoint": checkpoint.name, package: version}
    program = trace(exportable)
    _show(f"{package} export", config, exportable, facts)
    with new_file(file) as unfinished:
        try:
            if config["format"] == "onnx":
                files.write_onnx(program, exportable, facts, config["opset"], unfinished)
            else:
                files.write_torch(program, facts, unfinished)
        except OSError:
            raise
        except Exception as error:
            cure = ": try format=torch" if config["format"] == "onnx" else ""
            raise export_error(exportable, NAMES[config["format"]], error, cure) from error
        found = _compare(config["format"], unfinished, exportable)
        if not found.holds:
            raise SystemExit(
                f"error: outputs of the file differ from PyTorch's by {found.difference:.2g}, and rounding explains "
                f"only {found.allowed:.2g}: the file was removed.\nThe exporter has changed what the network computes, "
                "or the network draws random numbers: try another format= or opset=."
            )
    batches = ", ".join(map(str, found.batches))
    terminal.show(
        Text(
            f"parity     within {found.difference:.1e} of PyTorch's outputs ({found.allowed:.1e} is allowed), "
            f"at batch {batches}"
        )
    )
    terminal.show(Text(f"file       {short(file)} ({file.stat().st_size / 1000:,.0f} kB)"))
    if exportable.note:
        terminal.show(Text(f"note       {exportable.note}"))
    terminal.show(Text(f"\nRun it, in Python:\n\n{_example(config['format'], short(file), exportable, facts)}"))
    return {"file": str(file), "difference": found.difference}


def _compare(format_: str, file: Path, exportable: Exportable) -> Parity:
    try:
        return compare(exportable, run_onnx(file) if format_ == "onnx" else run_torch(file, exportable.outputs))
    except UserError:
        raise
    except Exception as error:
        runtime = "onnxruntime" if format_ == "onnx" else "PyTorch"
        raise SystemExit(
            f"error: {runtime} cannot run the file, which was removed: try another format= or opset=.\n"
            f"{one_line(error)}"
        ) from error


def _show(title: str, config: dict[str, Any], exportable: Exportable, facts: dict[str, Any]) -> None:
    parameters = sum(parameter.numel() for parameter in exportable.module.parameters())
    inputs = exportable.example(2)
    with torch.inference_mode():
        outputs = exportable(inputs)
    terminal.show_facts(
        title,
        {
            "model": f"{model_name(exportable)}, {counted(parameters, 'parameter')}, {facts['checkpoint']}",
            "format": f"ONNX, opset {config['opset']}" if config["format"] == "onnx" else "torch.export",
            "input": "; ".join(f"{name}: {_meaning(exportable, name, each)}" for name, each in inputs.items()),
            "outputs": "; ".join(f"{', '.join(names)}: {kind}" for kind, names in _by_kind(outputs).items()),
            "metadata": ", ".join(facts),
        },
    )


def _by_kind(outputs: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return names by dtype and shape, such as {"float32 (N, 10)": ["logits", "probabilities"]}."""
    found: dict[str, list[str]] = {}
    for name, tensor in outputs.items():
        found.setdefault(_kind(tensor), []).append(name)
    return found


def _kind(tensor: Tensor) -> str:
    return f"{_type(tensor)} ({', '.join(map(str, ('N', *tensor.shape[1:])))})"


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _meaning(exportable: Exportable, name: str, tensor: Tensor) -> str:
    return ", ".join(filter(None, (_kind(tensor), exportable.meanings.get(name))))


def _example(format_: str, file: str, exportable: Exportable, facts: Mapping[str, Any]) -> str:
    """Return a few lines of Python that run the file."""
    inputs, outputs = exportable.example(1), exportable.outputs
    library, dtype = ("numpy", "numpy.") if format_ == "onnx" else ("torch", "dtype=torch.")
    made = [
        f"{name} = {library}.zeros({tuple(each.shape)}, {dtype}{_type(each)})  # yours: "
        + _meaning(exportable, name, each)
        for name, each in inputs.items()
    ]
    if format_ == "onnx":
        given = ", ".join(f'"{name}": {name}' for name in inputs)
        results = ", ".join(outputs) if len(outputs) > 1 else f"({outputs[0]},)"
        opened = ["import numpy, onnxruntime", f"session = onnxruntime.InferenceSession({file!r})"]
        return "\n".join([*opened, *made, f"{results} = session.run(None, {{{given}}})"])
    pick = f'["{outputs[-1]}"]' if isinstance(exportable.module(*inputs.values()), Mapping) else ""
    opened = [
        "import torch",
        f"about = {json.dumps(dict.fromkeys(files.extra_files(facts), ''))}  # filled by the next line",
        f"network = torch.export.load({file!r}, extra_files=about).module()",
    ]
    return "\n".join([*opened, *made, f"{outputs[-1]} = network({', '.join(inputs)}){pick}"])
