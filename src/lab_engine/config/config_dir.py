"""`--config-dir=DIR`: a folder of the user's own, with options and the modules that they name."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab_engine.base.errors import UserError
from lab_engine.base.quoting import quoted
from lab_engine.base.wording import shown

KEY = "config_dir"
"""Of the configuration, where the folder is recorded."""


def given_folder(hydra_config: Any) -> str | None:
    """Return the folder that the command line of Hydra names, or None."""
    sources = hydra_config.runtime.config_sources
    folders = [source.path for source in sources if source.provider == "command-line" and source.schema == "file"]
    return str(Path(folders[0]).absolute()) if folders else None


def search_word(folder: str | Path) -> str:
    """Return the word that has Hydra find the options in a folder, where its command line is not read."""
    return f"hydra.searchpath=[{quoted(f'file://{Path(folder).absolute()}')}]"


def refuse_missing(folder: str) -> None:
    """Refuse what `--config-dir` was given if it is no folder.

    Raises:
        UserError: it is none.
    """
    if not Path(folder).is_dir():
        raise UserError(f"--config-dir={shown(str(Path(folder).absolute()))} is refused: there is no such folder")


def import_from(config: Mapping[str, Any]) -> None:
    """Allow modules to be imported from the folder that a configuration records, behind those of Python's own path."""
    folder = config.get(KEY)
    if isinstance(folder, str) and folder not in sys.path:
        sys.path.append(folder)
