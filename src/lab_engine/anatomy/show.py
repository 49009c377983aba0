"""The work of the command `anatomy`: show a network layer by layer."""

from typing import Any

import torch

from lab_engine.anatomy.gradients import step
from lab_engine.anatomy.layers import analyze
from lab_engine.anatomy.report import Anatomy, print_json, print_tables, to_plain
from lab_engine.config.instantiate import build_part


def show(config: dict[str, Any]) -> dict[str, Any]:
    """Print the anatomy of the network, and return it as `lab_engine.anatomy.report.to_plain` does."""
    torch.manual_seed(config["seed"])
    image_shape = (config["in_channels"], *config["image_size"])
    classes = config["num_classes"]
    facts = {"in_channels": image_shape[0], "image_size": list(image_shape[1:]), "num_classes": classes}
    network = build_part(config["model"], "model", facts)
    anatomy = Anatomy(
        model=type(network).__name__,
        image_shape=image_shape,
        num_classes=classes,
        layers=analyze(network, image_shape),
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        step=step(network, image_shape, classes) if config["gradients"] else None,
    )
    if config["format"] == "json":
        print_json(anatomy)
    else:
        print_tables(anatomy)
    return to_plain(anatomy)
