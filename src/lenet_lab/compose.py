"""The configuration of a run without starting it: for notebooks, scripts and tests."""

from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir

from lenet_lab.command import config_folder, to_plain
from lenet_lab.errors import UserError
from lenet_lab.schema import TrainConfig, check


def compose(*overrides: str, config_dir: str | Path | None = None, folder: str = "run") -> dict[str, Any]:
    """Give what `python -m lenet_lab.train` would run with, as a checked plain dictionary.

    Args:
        overrides: as on the command line, such as "data.batch_size=8".
        config_dir: a folder with options of your own, as `--config-dir`.
        folder: the run folder; nothing is made there.

    Raises:
        UserError: a value that is not allowed, or `config_dir` is no folder. A wrong key or option raises what Hydra
            raises.
    """
    own = []
    if config_dir is not None:
        if not Path(config_dir).is_dir():
            raise UserError(f"config_dir={config_dir} is not a folder. Give one with GROUP/OPTION.yaml files in it.")
        quoted = str(Path(config_dir).absolute()).replace("'", "\\'").replace("${", "\\${")
        own = [f"hydra.searchpath=['file://{quoted}']"]
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = hydra.compose("train", overrides=[*overrides, *own], return_hydra_config=True)
    return check(to_plain(composed, composed.hydra.runtime, folder), TrainConfig)
