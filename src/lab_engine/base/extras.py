"""Packages that only some settings or commands need: the extras of `pyproject.toml`."""

import importlib.util
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import packages_distributions
from pathlib import Path
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
        raise UserError(f"{what} needs the package {package}: {install_command(extra)}")


def need_all(nodes: Mapping[str, Mapping[str, Any] | None], key: str) -> None:
    """Refuse the parts of a group whose packages, listed in `OF_TARGETS`, are missing: all parts in one message."""
    needs = {f"{key}.{name}": OF_TARGETS.get(node["_target_"]) for name, node in nodes.items() if node is not None}
    missing = {what: needed for what, needed in needs.items() if needed and _is_missing(needed[0])}
    if missing:
        reasons = ", ".join(f"{what} needs the package {package}" for what, (package, _) in missing.items())
        raise UserError(f"{reasons}: {install_command(*sorted({extra for _, extra in missing.values()}))}")


def install_command(*extras: str) -> str:
    """Return the command that adds extras to this environment: to a checkout, or to what pip, pipx or uv installed."""
    checkout, wanted = Path(__file__).parents[3], f"[{','.join(extras)}]"
    if (checkout / "pyproject.toml").is_file():
        place = "." if checkout == Path.cwd() else str(checkout)
        return f"pip install -e {shlex.quote(place + wanted)}"
    name = packages_distributions().get(__name__.partition(".")[0], ["PROJECT"])[0]
    prefix = Path(sys.prefix)
    if (prefix / "pipx_metadata.json").is_file():
        return f"pipx runpip {name} install {shlex.quote(name + wanted)}"
    if (prefix / "uv-receipt.toml").is_file():
        return f"uv pip install --python {shlex.quote(sys.prefix)} {shlex.quote(name + wanted)}"
    return f"pip install {shlex.quote(name + wanted)}"


def _is_missing(package: str) -> bool:
    found = importlib.util.find_spec(package)
    return found is None or found.origin is None  # a folder of that name, such as W&B writes, is not a package
