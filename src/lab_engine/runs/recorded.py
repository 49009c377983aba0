"""The configuration in the folder of a run.

It is read once, checked as a command line would be, and what was checked is what runs.
"""

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
from lab_engine.config.command import Command, read_config
from lab_engine.config.config_dir import KEY
from lab_engine.training.terminal import short

Config = dict[str, Any]

MAX_BYTES = 200_000  # of a config.yaml; those of runs have a few thousand
DEEPEST = 50  # parts within parts
EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other takes a time that is the square of the depth
UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError)


def refuse_links(folder: Path) -> None:
    """Refuse to resume in a folder from which a link leads out.

    What the run writes would go there, which nobody sees who reads its configuration; in a copy, to the original.

    Raises:
        UserError: there is such a link.
    """
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise UserError(f"resume={folder} is refused: {path} is a link that leads out of it. Remove the link.")


def read_recorded(folder: Path, command: Command, config_dir: Path | None = None) -> Config:
    """Return the configuration in the folder of a run, checked; the folder may have been moved since.

    Args:
        folder: of the run.
        command: whose run it is.
        config_dir: where the run's own modules are; None: where they were.

    Raises:
        UserError: it cannot be read, or is not one that this version of the command would begin a run with.
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
            "If it was damaged, bring back a copy: a run leaves its settings in report.html, too."
        ) from error
    config = in_folder(config, folder)
    if config_dir is not None:
        config[KEY] = str(config_dir)
    try:
        return command.checked(_as_it_ran(config, folder))
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        return f"{error.problem} in line {error.problem_mark.line + 1}"
    said = (error.strerror or "") if isinstance(error, OSError) else str(error)
    return next(iter(said.splitlines()), type(error).__name__)


def _read(file: Path) -> str:
    """Read a file of text; a pipe would wait for ever, and a device has no end."""
    with open(os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), encoding="utf-8") as stream:  # noqa: PTH123
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ValueError("it is no regular file")
        text = stream.read(MAX_BYTES + 1)
    if len(text) > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes")
    return text


def _refuse_bombs(text: str) -> None:
    """Refuse what no run has written: a few lines of YAML can stand for more values than memory holds."""
    depth = 0
    for event in yaml.parse(text, EVENTS):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"an alias in line {event.start_mark.line + 1}")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"more than {DEEPEST} parts within parts in line {event.start_mark.line + 1}")


def _as_it_ran(config: Config, folder: Path) -> Config:
    """Fill in what was left to the program: another machine, or another load, might make it choose otherwise."""
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
    """Write what was checked to the run folder, where its processes read it, unless it is what lies there."""
    folder = Path(config["folder"])
    if read_config(folder) != config:
        atomic_write(folder / "config.yaml", OmegaConf.to_yaml(config))


def show(config: Config) -> None:
    """Print a configuration."""
    print(OmegaConf.to_yaml(config), end="")  # noqa: T201


def tell_if_done(folder: Path) -> bool:
    """Return whether a run is done; if so the user is told, too."""
    if not (folder / "metrics.json").exists():
        return False
    print(f"{short(folder)} is done: nothing is left to do.")  # noqa: T201
    print(f"results    {short(folder / 'metrics.json')}")  # noqa: T201
    return True
