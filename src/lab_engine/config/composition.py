"""Composition of a command's configuration by Hydra."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hydra import version
from hydra._internal.callbacks import Callbacks
from hydra._internal.hydra import Hydra
from hydra._internal.utils import create_config_search_path, get_args_parser
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import HydraContext, RunMode
from omegaconf import DictConfig

from lab_engine.config.command import Command
from lab_engine.config.hydra_version import BASE


@dataclass(frozen=True)
class Composition:
    """What Hydra has composed for a command line, and what its launchers and sweepers need.

    Attributes:
        name: of the command's main file in `conf`.
        config: all groups, `hydra` among them, with their interpolations.
        context: Hydra's loader of options, and its callbacks.
    """

    name: str
    config: DictConfig
    context: HydraContext


@contextmanager
def composed(command: Command, words: Sequence[str], mode: RunMode) -> Iterator[Composition]:
    """Compose the configuration once; Hydra's own `main` would do it twice.

    Args:
        command: whose configuration it is.
        words: of its command line.
        mode: one run, or several.
    """
    if BASE:
        version.setbase(BASE["version_base"])
    options = get_args_parser().parse_args(words)
    path = create_config_search_path(str(Path(options.config_path or command.conf).absolute()))
    if options.config_dir is not None:
        folder = f"file://{Path(options.config_dir).absolute()}"
        path.prepend(provider="command-line", path=folder, anchor=SearchPathQuery(provider="schema"))
    hydra = Hydra.create_main_hydra2(task_name=command.name, config_search_path=path)
    name, overrides = options.config_name or command.name, [*options.overrides, f"hydra.mode={mode.name}"]
    try:
        config = hydra.compose_config(name, overrides, run_mode=mode, with_log_configuration=True)
        HydraConfig.instance().set_config(config)  # for interpolations of ${hydra:…}
        yield Composition(name, config, HydraContext(config_loader=hydra.config_loader, callbacks=Callbacks(config)))
    finally:
        GlobalHydra.instance().clear()
