"""A new run in its folder."""

import shlex
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lab_engine.artifacts.run_folder import DATA_LOCK, LOCK, hold, names
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.devices import device_count, refuse_several_nodes
from lab_engine.base.errors import IncompleteError, UserError
from lab_engine.base.imports import import_quickly
from lab_engine.base.signals import Interrupted
from lab_engine.config.command import Command, Config
from lab_engine.config.explain import naming

ONE_DEVICE = {"devices": 1, "num_nodes": 1}
"""In place of `trainer`, for commands that have none."""
PROCESSES = "lab_engine.runs.processes"
"""Imported late, for it imports torch: a refusal should come without delay."""


def run_in_folder(command: Command, config: Config) -> dict[str, Any]:
    """Run a command in its folder, which exists and holds no run; a run that can be resumed holds the folder's lock.

    Where the run is refused or interrupted, its first files are removed: the same command may be given again.
    """
    folder = Path(config["folder"])
    resumes = command.name if command.resumes else None
    _refuse_taken(folder, resumes)
    before = names(folder) - {LOCK}
    with hold(folder) if resumes else nullcontext(), naming(folder):
        _claim(config, resumes)
        try:
            return compute(command, config)
        except IncompleteError:
            raise
        except (UserError, Interrupted):
            _remove_start(folder, names(folder) - before, command.name)
            raise


def compute(command: Command, config: Config) -> dict[str, Any]:
    """Run a command on as many devices as `config` asks for; the run folder holds it as `config.yaml`."""
    trainer = config.get("trainer", ONE_DEVICE)
    refuse_several_nodes(trainer)
    count = device_count(trainer)
    processes = import_quickly(PROCESSES)
    processes.refuse_too_many(trainer, count)
    with naming(Path(config["folder"])):
        results: dict[str, Any] = (
            command.run(config) if count == 1 else processes.run_on_devices(command.module, config, count)
        )
    return results


def _claim(config: Config, resumes: str | None) -> None:
    """Write `config.yaml` atomically, never over that of another run.

    Raises:
        UserError: the folder holds a run.
    """
    file = Path(config["folder"]) / "config.yaml"
    try:
        atomic_write(file, OmegaConf.to_yaml(config), new=True)
    except FileExistsError:  # another process was quicker
        _refuse_taken(file.parent, resumes)
        raise


def _refuse_taken(folder: Path, resumes: str | None) -> None:
    """Refuse a folder that holds a run; `resumes` is the name of this command if it can resume runs."""
    if not (folder / "config.yaml").exists():
        return
    advice = "Choose another folder with hydra.run.dir=DIR, or leave it out to get a new one."
    begun = any((folder / name).exists() for name in (LOCK, f"{resumes}.log"))  # no other command makes these
    if resumes and begun and not (folder / "metrics.json").exists():
        resume = shlex.quote(f"resume={folder}")
        advice = f"It is not finished: resume it with {resume}, or choose another folder with hydra.run.dir=DIR."
    raise UserError(f"{folder} holds a run already, and nothing in it is overwritten.\n{advice}")


def _remove_start(folder: Path, added: set[str], name: str) -> None:
    """Remove the files that a run has `added` to its folder, unless there are more than each run starts with."""
    if added <= {"config.yaml", f"{name}.log", LOCK, DATA_LOCK}:
        for file in added:
            (folder / file).unlink(missing_ok=True)
        with suppress(OSError):  # the folder holds files of others
            folder.rmdir()
