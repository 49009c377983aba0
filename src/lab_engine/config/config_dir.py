"""`--config-dir=DIR`: a folder of the user's own, with options and the modules that they name."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab_engine.base.errors import UserError
from lab_engine.base.quoting import quoted
from lab_engine.base.wording import did_you_mean_path, shown

KEY = "config_dir"
"""Key of the configuration under which the folder is recorded."""


def given_folder(hydra_config: Any) -> str | None:
    """Return the folder that `--config-dir` has given to Hydra, or None."""
    sources = hydra_config.runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line" and source.schema == "file"]
    return str(Path(folders[0]).absolute()) if folders else None


def search_word(folder: str | Path) -> str:
    """Return a KEY=VALUE word that adds a folder to Hydra's search path, where its options are not read."""
    return f"hydra.searchpath=[{quoted(f'file://{Path(folder).absolute()}')}]"


def refuse_missing(folder: str) -> None:
    """Refuse a value of `--config-dir` that is no folder.

    Raises:
        UserError: there is no such folder.
    """
    if not Path(folder).is_dir():
        path = Path(folder).absolute()
        raise UserError(f"--config-dir={shown(str(path))} is refused: there is no such folder{did_you_mean_path(path)}")


def import_from(config: Mapping[str, Any]) -> None:
    """Append the folder that a configuration records to Python's path, so that its modules can be imported."""
    folder = config.get(KEY)
    if isinstance(folder, str) and folder not in sys.path:
        sys.path.append(folder)
