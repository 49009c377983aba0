"""Hydra, ready to compose the configuration of a command from its words."""

from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import version
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from lab_engine.base.errors import UserError
from lab_engine.base.wording import shown
from lab_engine.config.command import Command


class Composition:
    """What Hydra has composed for a command line, and what its launchers and sweepers need.

    Attributes:
        hydra: Hydra itself.
        name: of the command's file among the options.
        config: all groups, `hydra` among them, with their interpolations.
    """

    def __init__(self, hydra: Hydra, name: str, words: list[str], mode: RunMode) -> None:
        self.hydra, self.name = hydra, name
        self.config: DictConfig = hydra.compose_config(name, words, run_mode=mode, with_log_configuration=True)
        self.config.hydra.mode = mode
        HydraConfig.instance().set_config(self.config)  # for interpolations of ${hydra:…}


@contextmanager
def composed(command: Command, options: Namespace, mode: RunMode) -> Iterator[Composition]:
    """Compose once; Hydra's own `main` would do so twice.

    Args:
        command: in question.
        options: of its command line, as Hydra's parser reads it.
        mode: one run, or several.
    """
    version.setbase("1.3")
    path = create_config_search_path(str(Path(options.config_path or command.conf).absolute()))
    if options.config_dir is not None:
        folder = f"file://{given_folder(options.config_dir)}"
        path.prepend(provider="command-line", path=folder, anchor=SearchPathQuery(provider="schema"))
    hydra = Hydra.create_main_hydra2(task_name=command.name, config_search_path=path)
    words = [*options.overrides, f"hydra.mode={mode.name}"]
    try:
        yield Composition(hydra, options.config_name or command.name, words, mode)
    finally:
        GlobalHydra.instance().clear()


def given_folder(config_dir: str) -> Path:
    """Return the folder of `--config-dir`.

    Raises:
        UserError: there is no such folder.
    """
    folder = Path(config_dir).absolute()
    if not folder.is_dir():
        raise UserError(f"--config-dir={shown(str(folder))} is refused: there is no such folder")
    return folder
