"""A run whose configuration lies in its folder: to resume it, or to repeat it.

A run folder is a program: what its configuration names is imported and called, like a script that one starts. It is
read once, checked as a command line would be, and what was checked is what runs.
"""

import io
import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lenet_lab.command_line import MULTIRUN, OF_RECORDED
from lenet_lab.config import Command, read_config
from lenet_lab.config_dir import KEY
from lenet_lab.errors import UserError
from lenet_lab.wording import printable, shown

Config = dict[str, Any]

MOST_BYTES = 200_000  # of a config.yaml; those of runs have a few thousand
DEEPEST = 50  # parts within parts
EVENTS: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the other takes a time that is the square of the depth
UNREADABLE = (yaml.YAMLError, OmegaConfBaseException, ValueError, OSError, RecursionError)
BESIDE = {"resume": "a run goes on as it began", "from": "a run is repeated as it was"}
ROOT = 0  # the user who may change anything on a machine: to refuse its folders would protect nobody


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        resume: go on with the run; else repeat it.
        folder: of the run.
        trust: run its configuration even if another user of the machine owns it.
        place: words that choose the folder of a repetition, as Hydra has them.
        show: only show the configuration.
        config_dir: where the run's own modules are now, if not where they were.
    """

    resume: bool
    folder: Path
    trust: bool
    place: tuple[str, ...]
    show: bool
    config_dir: Path | None = None


def parse(words: Sequence[str]) -> Request:
    """Read a command line.

    Raises:
        UserError: a word that has no place in it.
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
    which = [key for key in BESIDE if key in given]
    if not which:
        raise UserError(
            f"{shown('trust=' + given['trust'])} is refused: it goes with resume=RUN_FOLDER or from=RUN_FOLDER only.\n"
            "What you name on the command line and in conf/ is taken without it."
        )
    if len(which) > 1:
        raise UserError("resume= and from= are refused together: go on with a run, or repeat one.")
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
    config_dir, others = _take_option(others, "--config-dir", "-cd")
    if config_dir is not None and not Path(config_dir).is_dir():
        raise UserError(f"--config-dir={shown(config_dir)} is refused: there is no such folder")
    place = tuple(word for word in others if key == "from" and word.startswith("hydra.run.dir="))
    for word in others:
        if word in MULTIRUN:
            raise UserError(f"{word} is refused beside {key}=, which is for one run.")
        if word not in place:
            taken = (
                "--config-dir=DIR and trust=true"
                if key == "resume"
                else "hydra.run.dir=, --config-dir=DIR and trust=true"
            )
            raise UserError(
                f"{word} is refused beside {key}=: {BESIDE[key]}, and only {taken} may stand there.\n"
                "For other settings begin a new run, with the whole command."
            )
    return Request(
        resume=key == "resume",
        folder=Path(given[key]).expanduser().absolute(),
        trust="trust" in given,
        place=place,
        show=shown_part is not None,
        config_dir=None if config_dir is None else Path(config_dir).absolute(),
    )


def _take_option(words: list[str], *names: str) -> tuple[str | None, list[str]]:
    """Take an option of Hydra's with its value out of the words; None where it is not there."""
    for number, word in enumerate(words):
        name, found, value = word.partition("=")
        if name in names:
            value = value if found else next(iter(words[number + 1 :]), "")
            return value, words[:number] + words[number + (1 if found else 2) :]
    return None, words


def check_folder(folder: Path, key: str) -> None:
    """Refuse what is no folder of a single run.

    Args:
        folder: in question.
        key: that it was given as, "resume" or "from".

    Raises:
        UserError: it is not one.
    """
    if not folder.exists():
        raise UserError(f"{key}={folder}: there is no such folder. Give that of a run, which holds its config.yaml.")
    if not folder.is_dir():
        raise UserError(f"{key}={folder} is a file. Give the folder of a run, which holds its config.yaml.")
    if (folder / "config.yaml").exists():
        return
    if (folder / "sweep.log").exists() or any(folder.glob("*/job.json")):
        place = f", with hydra.sweep.dir={folder}, to go on with it" if key == "resume" else ""
        raise UserError(
            f"{key}={folder} is the folder of a sweep.\n"
            f"Repeat the command that it was begun with{place}; for one job of it give the job's folder."
        )
    below = next(iter(sorted(folder.glob("*/config.yaml"))), None)
    such_as = "" if below is None else f" Give that of a run, such as {below.parent}."
    raise UserError(f"{key}={folder} holds no config.yaml, so it is not the folder of a run, or not whole.{such_as}")


def refuse_foreign(folder: Path, key: str) -> None:
    """Refuse to run a configuration that another user of the machine has written, or can change.

    Args:
        folder: of a run.
        key: that it was given as, "resume" or "from".

    Raises:
        UserError: somebody else than this user or root owns the folder, or its config.yaml.
    """
    if not hasattr(os, "geteuid"):  # Windows has no such numbers
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
    except KeyError:  # of another machine, whose disk this is
        return f"user {number}"


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
    """Give the configuration in the folder of a run, checked; the folder may have been moved since.

    Args:
        folder: of the run.
        command: whose run it is.
        config_dir: where the run's own modules are; None: where they were.

    Raises:
        UserError: it cannot be read, or is not one that this version of the command would begin a run with.
    """
    from lenet_lab.run_folder import in_folder

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
        return command.complete(_as_it_ran(config, folder))
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
        text = stream.read(MOST_BYTES + 1)
    if len(text) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES:,} bytes")
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
    from lenet_lab.environment import read_environment

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
    from lenet_lab.whole_file import write_whole

    folder = Path(config["folder"])
    if read_config(folder) != config:
        write_whole(folder / "config.yaml", OmegaConf.to_yaml(config))


def show(config: Config) -> None:
    """Print a configuration."""
    print(OmegaConf.to_yaml(config), end="")  # noqa: T201
