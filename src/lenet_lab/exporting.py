"""The export of a trained network as a file for other programs."""

from typing import Any

from lab_engine.export import command
from lenet_lab import __version__
from lenet_lab.schema import ExportConfig


def check(config: dict[str, Any]) -> dict[str, Any]:
    """Fill in the model that the checkpoint records; check the configuration, the packages it needs, and the file."""
    return command.check(config, ExportConfig)


def export(config: dict[str, Any]) -> dict[str, Any]:
    """Write the file, from a checked configuration; see `lab_engine.export.command.export`."""
    return command.export(config, "lenet_lab", __version__)
