"""The configuration in a run folder: read once and checked like a command line; the checked values are what runs."""

import io
import os
import stat
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lab_engine.artifacts.environment import read_environment
from lab_engine.artifacts.run_folder import in_folder
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.errors import UserError
from lab_engine.base.program import short
from lab_engine.config.command import Command, read_config
from lab_engine.config.config_dir import KEY

Config = dict[str, Any]

MAX_CHARACTERS = 200_000  # of a config.yaml; those of runs have a few thousand
MAX_DEPTH = 50  # of nested values
EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # SafeLoader's time grows with the square of the depth
UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError)


def refuse_links(folder: Path) -> None:
    """Refuse to resume in a folder with a link to a place outside.

    The run would write there, and its configuration does not show it; in a copied folder, it would change the original.

    Raises:
        UserError: there is a link to a place outside.
    """
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise UserError(f"resume={folder} is refused: {path} is a link to a place outside. Remove the link.")


def read_recorded(folder: Path, command: Command, config_dir: Path | None = None, devices: Any = None) -> Config:
    """Return the checked configuration of a run, rebased on its folder, which may have been moved.

    Args:
        folder: of the run.
        command: whose run it is.
        config_dir: where the run's own modules are; None: where the configuration says.
        devices: `trainer.devices` in place of the recorded value, or None.

    Raises:
        UserError: it cannot be read, or this version of the command would refuse it for a new run.
    """
    file = folder / "config.yaml"
    try:
        text = _read(file)
        _refuse_bombs(text)
        config: Config = OmegaConf.to_container(OmegaConf.load(io.StringIO(text)))  # type: ignore[assignment]
        if not isinstance(config, dict) or not Path(str(config.get("folder", ""))).is_absolute():
            raise ValueError("it does not name its folder")
    except UNREADABLE as error:
        raise UserError(
            f"{file} is not the configuration of a run: {_reason(error)}\n"
            "If it is damaged, restore it from a backup; the run's report.html lists its settings, too."
        ) from error
    config = in_folder(config, folder)
    if config_dir is not None:
        config[KEY] = str(config_dir)
    if devices is not None and isinstance(config.get("trainer"), dict):
        config["trainer"]["devices"] = devices
    try:
        return command.checked(_as_it_ran(config, folder))
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    message = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return next(iter(message.splitlines()), type(error).__name__)


def _read(file: Path) -> str:
    """Read a text file; a pipe is refused, for it could block for ever, and a device, for it may have no end."""
    with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), encoding="utf-8") as stream:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is no regular file")
        text = stream.read(MAX_CHARACTERS + 1)
    if len(text) > MAX_CHARACTERS:
        raise ValueError(f"it is larger than {MAX_CHARACTERS:,} characters")
    return text


def _refuse_bombs(text: str) -> None:
    """Refuse aliases and deep nesting, which no run writes: a few lines could expand to more than memory holds."""
    depth = 0
    for event in yaml.parse(text, EVENTS):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"an alias in line {event.start_mark.line + 1}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels in line {event.start_mark.line + 1}")


def _as_it_ran(config: Config, folder: Path) -> Config:
    """Replace automatic settings by the values of the original run: on another machine they might differ."""
    environment = read_environment(folder)
    if environment is None:
        return config
    filled = dict(config)
    if config.get("threads", 0) is None and environment.threads:
        filled["threads"] = environment.threads
    for key, found in (("precision", environment.precision), *environment.speed.items()):
        group = "trainer" if key == "precision" else "speed"
        part = filled.get(group)
        if found not in ("", None) and isinstance(part, dict) and part.get(key) == "auto":
            filled[group] = {**part, key: found}
    return filled


def keep(config: Config) -> None:
    """Write a checked configuration to its run folder, from which the processes of other devices read it."""
    folder = Path(config["folder"])
    if read_config(folder) != config:
        atomic_write(folder / "config.yaml", OmegaConf.to_yaml(config))


def show(config: Config) -> None:
    """Print a configuration."""
    print(OmegaConf.to_yaml(config), end="")  # noqa: T201


def tell_if_done(folder: Path) -> bool:
    """Return whether a run is done, and print a message if it is."""
    if not (folder / "metrics.json").exists():
        return False
    print(f"{short(folder)} is done: nothing is left to do.")  # noqa: T201
    print(f"results    {short(folder / 'metrics.json')}")  # noqa: T201
    return True
