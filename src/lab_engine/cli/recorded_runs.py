"""`resume=RUN_FOLDER` and `from=RUN_FOLDER`: runs whose configuration lies in their folder.

A run folder is a program: the classes and functions that its configuration names are imported and called.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir

from lab_engine.artifacts.run_folder import in_folder
from lab_engine.base.errors import UserError
from lab_engine.base.imports import import_quickly
from lab_engine.base.wording import did_you_mean_path, printable, shown
from lab_engine.config.command import Command
from lab_engine.config.command_line import CONFIG_DIR, MULTIRUN, OF_RECORDED, value_of_option
from lab_engine.config.hydra_version import BASE
from lab_engine.runs.recorded import read_recorded, refuse_links, show, tell_if_done

KEEPS_SETTINGS = {"resume": "a run resumes with its own settings", "from": "a run is repeated with its own settings"}
DEVICES = "trainer.devices="
ROOT = 0  # root may change anything on a machine, so refusing its folders would protect nobody
RESUME = "lab_engine.cli.resume:resume"
REPEAT = "lab_engine.cli.reproduce:reproduce"
"""Imported by name after the checks, for they import torch."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        key: "resume" or "from" (repeat the run in a new folder).
        folder: of the run.
        trust: run its configuration even if another user of the machine owns it.
        place: overrides of `hydra.run.dir` for a repeated run.
        show: only show the configuration.
        config_dir: where the run's own modules are; None: where the configuration says.
        devices: to resume on in place of the recorded ones, or None.
    """

    key: str
    folder: Path
    trust: bool
    place: tuple[str, ...]
    show: bool
    config_dir: Path | None = None
    devices: Any = None


def parse(words: Sequence[str]) -> Request:
    """Parse a command line that has `resume=`, `from=` or `trust=`.

    Raises:
        UserError: a word is refused.
    """
    given: dict[str, str] = {}
    others = []
    for word in words:
        key, _, value = word.partition("=")
        if not word.startswith(OF_RECORDED):
            others.append(word)
        elif key in given:
            raise UserError(f"{key}= is given twice: give one.")
        else:
            given[key] = value
    which = [key for key in KEEPS_SETTINGS if key in given]
    if not which:
        raise UserError(
            f"{shown('trust=' + given['trust'])} is refused: it is for resume=RUN_FOLDER and from=RUN_FOLDER only.\n"
            "Leave it out: the command line and conf/ are trusted without it."
        )
    if len(which) > 1:
        raise UserError("resume= and from= are refused together: resume a run, or repeat one.")
    key = which[0]
    if not given[key]:
        raise UserError(f"{key}= is empty: give the folder of a run, {key}=RUN_FOLDER.")
    if given.get("trust", "true") != "true":
        raise UserError(
            f"{shown('trust=' + given['trust'])} is refused: give trust=true, or leave it out.\n"
            "It runs the configuration in a folder that another user of this machine owns."
        )
    shown_part, others = _take_option(others, "--cfg", "-c")
    if shown_part not in (None, "job"):
        raise UserError(f"--cfg {shown_part} is refused here: give --cfg job, the configuration of the run.")
    config_dir, others = _take_option(others, *CONFIG_DIR)
    place = tuple(word for word in others if key == "from" and word.startswith("hydra.run.dir="))
    devices = [word for word in others if key == "resume" and word.startswith(DEVICES)]
    for word in others:
        if word in MULTIRUN:
            raise UserError(f"{word} is refused beside {key}=, which is for one run.")
        if word not in (*place, *devices):
            taken = (
                "trainer.devices=, --config-dir=DIR and trust=true"
                if key == "resume"
                else "hydra.run.dir=, --config-dir=DIR and trust=true"
            )
            raise UserError(
                f"{word} is refused beside {key}=: {KEEPS_SETTINGS[key]}, and only {taken} may be given with it.\n"
                "For other settings start a new run, with the whole command."
            )
    return Request(
        key=key,
        folder=Path(given[key]).expanduser().absolute(),
        trust="trust" in given,
        place=place,
        show=shown_part is not None,
        config_dir=None if config_dir is None else Path(config_dir).absolute(),
        devices=(yaml.safe_load(devices[-1].removeprefix(DEVICES)) or "") if devices else None,
    )


def _take_option(words: list[str], *names: str) -> tuple[str | None, list[str]]:
    """Return the value of one of Hydra's options, None if it is not given, and the other words."""
    for number, word in enumerate(words):
        name, found, _ = word.partition("=")
        if name in names:
            return value_of_option(words, *names), words[:number] + words[number + (1 if found else 2) :]
    return None, words


def check_folder(folder: Path, key: str) -> None:
    """Check that a folder holds a single run.

    Args:
        folder: value of `resume=` or `from=`.
        key: "resume" or "from", for messages.

    Raises:
        UserError: it does not.
    """
    if not folder.exists():
        raise UserError(
            f"{key}={folder}: there is no such folder{did_you_mean_path(folder)}\n"
            "Give the folder of a run, which holds config.yaml."
        )
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is a file. Give the folder of a run, which holds config.yaml.")
    if (folder / "config.yaml").exists():
        return
    if (folder / "sweep.log").exists() or any(folder.glob("*/job.json")):
        place = f" with hydra.sweep.dir={folder} to resume it" if key == "resume" else ""
        raise UserError(
            f"{key}={folder} is the folder of a sweep.\n"
            f"Repeat the command that started it{place}; for one of its jobs, give the job's folder."
        )
    below = min(folder.glob("*/config.yaml"), default=None)
    such_as = "" if below is None else f" Give the folder of a run, such as {below.parent}."
    raise UserError(f"{key}={folder} holds no config.yaml: it is not a run folder, or it is incomplete.{such_as}")


def refuse_foreign(folder: Path, key: str) -> None:
    """Refuse to run a configuration that another user of the machine owns.

    Args:
        folder: of a run.
        key: "resume" or "from", for the message.

    Raises:
        UserError: neither this user nor root owns the folder or its config.yaml.
    """
    if not hasattr(os, "geteuid"):  # Windows has no user numbers
        return
    for path in (folder, folder / "config.yaml"):
        owner = path.stat().st_uid
        if owner not in (os.geteuid(), ROOT):
            raise UserError(
                f"{key}={folder} is refused: {_user(owner)} owns {path}, and what its configuration names would run "
                f"as you.\nIf you trust that user, add trust=true."
            )


def _user(number: int) -> str:
    import pwd

    try:
        return f"the user {printable(pwd.getpwuid(number).pw_name)}"
    except KeyError:  # a user of another machine, on a shared disk
        return f"user {number}"


def run_recorded(command: Command, words: Sequence[str]) -> None:
    """Resume a run, repeat it, or show its configuration.

    Raises:
        UserError: the words are refused, or the run cannot be done.
    """
    request = parse(words)
    folder = request.folder
    check_folder(folder, request.key)
    if not (request.show or request.trust):
        refuse_foreign(folder, request.key)
    if request.key == "from":
        _repeat(request, command)
    elif request.show:
        show(read_recorded(folder, command, request.config_dir, request.devices))
    else:
        refuse_links(folder)
        if not tell_if_done(folder):
            import_quickly(RESUME)(folder, command, request.config_dir, request.devices)


def _repeat(request: Request, command: Command) -> None:
    original = request.folder
    if not (original / "metrics.json").exists():
        raise UserError(
            f"from={original} is a run that is not done (no metrics.json): there is nothing to compare with.\n"
            f"Resume it first: resume={original}"
        )
    config = read_recorded(original, command, request.config_dir)
    config = in_folder(config, _new_folder(command, request.place))
    if request.show:
        show(config)
    else:
        import_quickly(REPEAT)(original, command, config)


def _new_folder(command: Command, place: Sequence[str]) -> Path:
    """Choose a run folder as Hydra does for a new run."""
    with initialize_config_dir(str(command.conf), **BASE):
        composed = compose(command.name, overrides=list(place), return_hydra_config=True)
    return Path(composed.hydra.run.dir).expanduser().absolute()
