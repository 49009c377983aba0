"""A trained network as a file for other programs."""

from pathlib import Path
from typing import Any

from rich.text import Text

from lenet_lab import __version__, terminal
from lenet_lab.deploy import files
from lenet_lab.deploy.files import run_onnx, run_torch
from lenet_lab.deploy.network import INPUT, OUTPUTS, Deployed, about, cannot, trace
from lenet_lab.deploy.parity import Parity, compare
from lenet_lab.errors import UserError
from lenet_lab.explain import one_line
from lenet_lab.extras import need
from lenet_lab.from_checkpoint import checkpoint_path, fill_in, load_offered
from lenet_lab.schema import SUFFIX, ExportConfig, check_with_taken
from lenet_lab.trained_network import TrainedNetwork
from lenet_lab.whole_file import new_file

NEWEST_OPSET = 23  # that PyTorch's exporter writes by itself; for a newer one it would convert what it has written
NEEDED = ("onnx", "onnxruntime", "onnxscript")
NAMES = {"onnx": "torch.onnx", "torch": "torch.export"}


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in what the checkpoint says of its model, and check the configuration and what it needs."""
    fill_in(config, checkpoint_path(config), ("task",))
    config = check_with_taken(config, ExportConfig)
    for package in NEEDED if config["format"] == "onnx" else ():
        need(package, "export", "format=onnx")
    if config["format"] == "onnx":
        config["opset"] = config["opset"] or NEWEST_OPSET
    file = Path(config["file"] or Path(config["folder"], "model" + SUFFIX[config["format"]]))
    if file.exists():
        raise UserError(f"{file} exists already, and is not overwritten.\nChoose another with file=PATH, or move it.")
    if config["file"] and not file.parent.is_dir():
        raise UserError(f"file={file}: there is no folder {file.parent}. Make it, or choose another.")
    return {**config, "file": str(file)}


def export(config: dict[str, Any]) -> dict[str, Any]:
    """Write the file, unless it does not give what PyTorch gives; from a checked configuration.

    Returns:
        `file`, its path, and `difference`: the largest between one of its logits and PyTorch's.

    Raises:
        UserError: the network cannot be exported.
        SystemExit: with status 1: the file did not give what PyTorch gives.
    """
    checkpoint, file = Path(config["checkpoint"]), Path(config["file"])
    terminal.open_log(Path(config["folder"]) / "export.log")
    trained: TrainedNetwork = load_offered(config, checkpoint, "exportable", "export")
    deployed = Deployed(trained, config["input"])
    facts = about(trained, deployed, checkpoint.name, __version__)
    _show(config, deployed, facts)
    program = trace(deployed)
    with new_file(file) as unfinished:
        try:
            if config["format"] == "onnx":
                files.write_onnx(program, facts, config["opset"], unfinished)
            else:
                files.write_torch(program, facts, unfinished)
        except OSError:
            raise
        except Exception as error:
            cure = ": try format=torch" if config["format"] == "onnx" else ""
            raise cannot(deployed, NAMES[config["format"]], error, cure) from error
        found = _compare(config["format"], unfinished, trained, deployed)
        if not found.holds:
            raise SystemExit(
                f"error: logits of the file differ from PyTorch's by {found.difference:.2g}, where rounding explains "
                f"{found.allowed:.2g}: it was removed.\nThe exporter has changed what the network does, "
                "or it is random itself: try another format= or opset=."
            )
    batches = ", ".join(map(str, found.batches))
    terminal.show(
        Text(
            f"parity     within {found.difference:.1e} of PyTorch's logits ({found.allowed:.1e} is allowed), "
            f"at batch {batches}"
        )
    )
    terminal.show(Text(f"file       {terminal.short(file)} ({file.stat().st_size / 1000:,.0f} kB)"))
    if (views := config["choices"].get("test_time", "none")) != "none":
        terminal.show(
            Text(
                f"accuracy   lower than metrics.json says: the run was measured with test_time={views}, by several\n"
                "           views of an image, and the file judges by one"
            )
        )
    terminal.show(Text(f"\nRun it, in Python:\n\n{_example(config['format'], terminal.short(file), deployed, facts)}"))
    return {"file": str(file), "difference": found.difference}


def _compare(format_: str, file: Path, trained: "TrainedNetwork", deployed: "Deployed") -> "Parity":
    try:
        return compare(trained, deployed, run_onnx(file) if format_ == "onnx" else run_torch(file))
    except UserError:
        raise
    except Exception as error:
        runtime = "onnxruntime" if format_ == "onnx" else "PyTorch"
        raise SystemExit(
            f"error: {runtime} cannot run the file, and it was removed: try another format= or opset=.\n"
            f"{one_line(error)}"
        ) from error


def _show(config: dict[str, Any], deployed: "Deployed", facts: dict[str, Any]) -> None:
    parameters = sum(parameter.numel() for parameter in deployed.network.parameters())
    classes = len(facts["classes"])
    terminal.show_facts(
        "export",
        {
            "model": f"{type(deployed.network).__name__}, {parameters:,} parameters, {facts['checkpoint']}",
            "format": f"ONNX, opset {config['opset']}" if config["format"] == "onnx" else "torch.export",
            "input": f"{INPUT}: {_images(deployed, facts)}",
            "outputs": f"{', '.join(OUTPUTS)}: float32 (N, {classes})",
            "metadata": ", ".join(facts),
        },
    )


def _images(deployed: "Deployed", facts: dict[str, Any]) -> str:
    channels, height, width = deployed.image_shape
    kind = str(deployed.dtype).removeprefix("torch.")
    return f"{kind} (N, {channels}, {height}, {width}), {facts['colours']}, 0 to {deployed.largest}"


def _example(format_: str, file: str, deployed: "Deployed", facts: dict[str, Any]) -> str:
    """A few lines that run the file, to be copied."""
    shape, kind = (1, *deployed.image_shape), str(deployed.dtype).removeprefix("torch.")
    yours = f"# yours: {_images(deployed, facts)}"
    if format_ == "onnx":
        return (
            "import numpy, onnxruntime\n"
            f"session = onnxruntime.InferenceSession({file!r})\n"
            f"images = numpy.zeros({shape}, numpy.{kind})  {yours}\n"
            f'logits, probabilities = session.run(None, {{"{INPUT}": images}})'
        )
    return (
        "import torch\n"
        'about = {"classes.json": "", "about.json": ""}  # filled by the next line\n'
        f"network = torch.export.load({file!r}, extra_files=about).module()\n"
        f"images = torch.zeros({shape}, dtype=torch.{kind})  {yours}\n"
        'probabilities = network(images)["probabilities"]'
    )
