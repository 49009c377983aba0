"""Packages that only some settings or commands need: the extras of `pyproject.toml`."""

import importlib.util
from collections.abc import Mapping
from typing import Any

from lab_engine.base.errors import UserError

OF_TARGETS = {
    "lightning.pytorch.loggers.MLFlowLogger": ("mlflow", "mlflow"),
    "lightning.pytorch.loggers.WandbLogger": ("wandb", "wandb"),
}
"""For each `_target_`: the package that it needs, and the extra that installs the package."""


def need(package: str, extra: str, what: str) -> None:
    """Refuse what needs a package that is not installed, without importing the package.

    Args:
        package: the name under which it is imported.
        extra: of `pyproject.toml`, which installs it.
        what: the setting or the command that needs it, as the user gave it.

    Raises:
        UserError: it is not installed.
    """
    if _is_missing(package):
        raise UserError(f"{what} needs the package {package}: pip install -e '.[{extra}]'")


def need_all(nodes: Mapping[str, Mapping[str, Any] | None], key: str) -> None:
    """Refuse the parts of a group whose packages, listed in `OF_TARGETS`, are missing: all parts in one message."""
    needs = {f"{key}.{name}": OF_TARGETS.get(node["_target_"]) for name, node in nodes.items() if node is not None}
    missing = {what: needed for what, needed in needs.items() if needed and _is_missing(needed[0])}
    if missing:
        reasons = ", ".join(f"{what} needs the package {package}" for what, (package, _) in missing.items())
        extras = ",".join(sorted({extra for _, extra in missing.values()}))
        raise UserError(f"{reasons}: pip install -e '.[{extras}]'")


def _is_missing(package: str) -> bool:
    found = importlib.util.find_spec(package)
    return found is None or found.origin is None  # a folder of that name, such as W&B writes, is not a package
