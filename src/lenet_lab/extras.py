"""Packages that only some settings or commands need: the extras of `pyproject.toml`."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from lenet_lab.errors import UserError

OF_TARGETS = {
    "lenet_lab.loggers.mlflow.MLflow": ("mlflow", "mlflow"),
    "lenet_lab.loggers.wandb.Wandb": ("wandb", "wandb"),
}
"""By `_target_`: the package that it needs, and the extra that has it."""


def need(package: str, extra: str, what: str) -> None:
    """Refuse what cannot be done without a package; it is looked for, and not imported.

    Args:
        package: as it is imported.
        extra: of `pyproject.toml`, that has it.
        what: the setting or the command that needs it, as the user gave it.

    Raises:
        UserError: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:  # a folder of that name, such as W&B leaves, is no package
        raise UserError(f"{what} needs the package {package}: pip install -e '.[{extra}]'")


def need_all(nodes: Mapping[str, Mapping[str, Any] | None], key: str) -> None:
    """Do so for each part of a group of the configuration that is listed in `OF_TARGETS`."""
    for name, node in nodes.items():
        if node is not None and node["_target_"] in OF_TARGETS:
            need(*OF_TARGETS[node["_target_"]], f"{key}.{name}")
