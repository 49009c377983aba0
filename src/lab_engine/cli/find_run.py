"""`checkpoint=RUN_FOLDER`, `checkpoint=last`, `resume=last` and `from=last`: the file or run that is meant."""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from lab_engine.base.errors import UserError
from lab_engine.base.program import short
from lab_engine.base.wording import did_you_mean_path, printable
from lab_engine.config.command import Command
from lab_engine.config.command_line import MULTIRUN
from lab_engine.sweeps.job import is_locked

RUNS = Path("runs", "train")
NEWEST = "last"
"""As a value: the newest run; a file or folder of this name comes first."""


def find_run(command: Command, word: str, words: Sequence[str]) -> str:
    """Return a word with the path of the checkpoint or the run that it means, and print which one was found.

    Args:
        command: takes `checkpoint=`, or can resume runs.
        word: any of its command line.
        words: all of them.

    Raises:
        UserError: there is no such checkpoint or run.
    """
    key, _, value = word.partition("=")
    if key == "checkpoint" and key in command.paths and value and value[0] not in "[{$\"'":
        several = bool({*MULTIRUN} & {*words}) and not Path(value).exists()
        return f"{key}={','.join(_checkpoint(each, several) for each in (value.split(',') if several else [value]))}"
    if command.resumes and key in ("resume", "from") and value == NEWEST and not Path(value).exists():
        run = next(_unfinished() if key == "resume" else _done(), None)
        if run is None:
            kind, cure = "done", "Train one"
            if key == "resume":
                kind, cure = "unfinished and has a checkpoint", "Start a new run"
            raise UserError(f"{word}: no run below {RUNS.absolute()} is {kind}. {cure}, or give {key}=RUN_FOLDER.")
        _tell(word, run)
        return f"{key}={run}"
    return word


def _checkpoint(value: str, several: bool) -> str:
    path = Path(value).expanduser()
    if value == NEWEST and not path.exists():
        file = next((file for run in _newest_first() if (file := _of_run(run))), None)
        if file is None:
            raise UserError(
                f"checkpoint=last: no run below {RUNS.absolute()} has a checkpoint. Train one, or give a .ckpt file."
            )
    elif path.is_dir():
        file = _of_run(path)
        if file is None:
            job = next((run for run in sorted(path.glob("*")) if _of_run(run)), None)
            such_as = "" if job is None else f", such as {printable(str(job))}"
            raise UserError(
                f"checkpoint={printable(str(path.absolute()))} is a folder without checkpoints/best.ckpt and last.ckpt."
                f"\nGive the folder of a run{such_as}, or a .ckpt file."
            )
    elif path.is_file() or several:
        return value
    else:
        raise UserError(
            f"checkpoint={printable(str(path.absolute()))}: there is no such file{did_you_mean_path(path)}\n"
            "A run writes RUN_FOLDER/checkpoints/best.ckpt."
        )
    _tell(f"checkpoint={value}", file)
    return str(file)


def _of_run(run: Path) -> Path | None:
    files = [run / "checkpoints" / name for name in ("best.ckpt", "last.ckpt")]
    return next((file for file in files if file.is_file()), None)


def _newest_first() -> list[Path]:
    """Return the folders of the runs below `RUNS` by the time when they were started; a job of a sweep is none."""
    files = RUNS.glob("*/config.yaml")
    return [file.parent for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)]


def _unfinished() -> Iterator[Path]:
    for run in _newest_first():
        if not (run / "metrics.json").exists() and _of_run(run) and not is_locked(run):
            yield run


def _done() -> Iterator[Path]:
    yield from (run for run in _newest_first() if (run / "metrics.json").exists())


def _tell(word: str, path: Path) -> None:
    print(f"{printable(word)} is {printable(short(path))}", file=sys.stderr)  # noqa: T201
