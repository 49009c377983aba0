"""The configuration of a run without starting it: for notebooks, scripts and tests."""

from pathlib import Path
from typing import Any

from lab_engine.config.in_process import compose_checked
from lenet_lab.train import COMMAND


def compose(*overrides: str, config_dir: str | Path | None = None, folder: str = "run") -> dict[str, Any]:
    """Return what `python -m lenet_lab.train` would run with, as a checked plain dictionary.

    Args:
        overrides: as on the command line, such as "data.batch_size=8".
        config_dir: a folder with options of your own, as `--config-dir`.
        folder: the run folder; nothing is made there.

    Raises:
        UserError: a key, an option or a value that is not allowed, or `config_dir` is no folder.
    """
    return compose_checked(COMMAND, overrides, config_dir, folder)
