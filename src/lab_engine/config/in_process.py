"""The configuration of a command without running it: for notebooks, scripts and tests."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra

from lab_engine.base.errors import UserError
from lab_engine.config.command import Command, to_plain
from lab_engine.config.config_dir import KEY, import_from, search_word
from lab_engine.config.explain import explain
from lab_engine.config.hydra_version import BASE
from lab_engine.config.written_out import write_out_overrides


def compose_checked(
    command: Command, overrides: Sequence[str], config_dir: str | Path | None, folder: str
) -> dict[str, Any]:
    """Return what a command would run with, as a checked plain dictionary.

    Args:
        command: whose configuration.
        overrides: as on the command line.
        config_dir: as `--config-dir`, or None.
        folder: the run folder; nothing is made there.

    Raises:
        UserError: a key, an option or a value that is not allowed, or `config_dir` is no folder.
    """
    with options(command, config_dir) as words:
        try:
            given = write_out_overrides(command, overrides, config_dir)
            composed = hydra.compose(command.name, overrides=[*given, *words], return_hydra_config=True)
            config = to_plain(composed, composed.hydra, folder)
        except Exception as error:
            if (text := explain(error, command)) is None:
                raise
            raise UserError(text) from error
    if config_dir is not None:
        config[KEY] = str(Path(config_dir).absolute())
        import_from(config)
    return command.checked(config)


@contextmanager
def options(command: Command, config_dir: str | Path | None) -> Iterator[list[str]]:
    """Make Hydra find the options of a command; yield the words of the command line that add those of `config_dir`.

    Raises:
        UserError: `config_dir` is no folder.
    """
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"config_dir={config_dir} is not a folder. Give one with GROUP/OPTION.yaml files in it.")
    hydra_of_a_command = GlobalHydra.instance().hydra  # as where a task of the user's own loads another run
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(command.conf), **BASE):
            yield [] if config_dir is None else [search_word(config_dir)]
    finally:
        GlobalHydra.instance().hydra = hydra_of_a_command
