"""`resume=RUN_FOLDER` and `from=RUN_FOLDER`: runs whose configuration lies in their folder.

A run folder is a program: what its configuration names is imported and called, like a script that one starts.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hydra import compose, initialize_config_dir

from lab_engine.artifacts.run_folder import in_folder
from lab_engine.base.errors import UserError
from lab_engine.base.imports import import_quickly
from lab_engine.base.wording import printable, shown
from lab_engine.config.command import Command
from lab_engine.config.command_line import CONFIG_DIR, MULTIRUN, OF_RECORDED
from lab_engine.runs.recorded import read_recorded, refuse_links, show, tell_if_done

BESIDE = {"resume": "a run goes on as it began", "from": "a run is repeated as it was"}
ROOT = 0  # the user who may change anything on a machine: to refuse its folders would protect nobody
RESUME = "lab_engine.cli.resume:resume"
REPEAT = "lab_engine.cli.reproduce:reproduce"
"""What does so, and imports torch."""


@dataclass(frozen=True)
class Request:
    """What a command line asks for.

    Attributes:
        key: "resume" to go on with the run, "from" to repeat it.
        folder: of the run.
        trust: run its configuration even if another user of the machine owns it.
        place: words that choose the folder of a repetition, as Hydra has them.
        show: only show the configuration.
        config_dir: where the run's own modules are now, if not where they were.
    """

    key: str
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
    config_dir, others = _take_option(others, *CONFIG_DIR)
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
        key=key,
        folder=Path(given[key]).expanduser().absolute(),
        trust="trust" in given,
        place=place,
        show=shown_part is not None,
        config_dir=None if config_dir is None else Path(config_dir).absolute(),
    )


def _take_option(words: list[str], *names: str) -> tuple[str | None, list[str]]:
    """Split an option of Hydra's with its value from the words; None where it is not there."""
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
    """Refuse to run a configuration that another user of the machine owns.

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


def run_recorded(command: Command, words: Sequence[str]) -> None:
    """Resume a run, or repeat it.

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
        show(read_recorded(folder, command, request.config_dir))
    else:
        refuse_links(folder)
        if not tell_if_done(folder):
            import_quickly(RESUME)(folder, command, request.config_dir)


def _repeat(request: Request, command: Command) -> None:
    original = request.folder
    if not (original / "metrics.json").exists():
        raise UserError(
            f"from={original} is a run that is not done (no metrics.json): there is nothing to compare with.\n"
            f"Go on with it first: resume={original}"
        )
    config = read_recorded(original, command, request.config_dir)
    config = in_folder(config, _new_folder(command, request.place))
    if request.show:
        show(config)
    else:
        import_quickly(REPEAT)(original, command, config)


def _new_folder(command: Command, place: Sequence[str]) -> Path:
    """Choose a run folder as Hydra does for a new run."""
    with initialize_config_dir(str(command.conf), version_base="1.3"):
        composed = compose(command.name, overrides=list(place), return_hydra_config=True)
    return Path(composed.hydra.run.dir).expanduser().absolute()
