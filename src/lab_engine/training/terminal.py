"""The output of a run, on the terminal and in the run's log file."""

import logging
import os
import shlex
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lab_engine.artifacts.environment import read_environment
from lab_engine.base.bar import draw_bars_on
from lab_engine.base.devices import rank
from lab_engine.base.program import command_for, installed, short
from lab_engine.base.quoting import override
from lab_engine.base.wording import counted, printable

ENGINE = __name__.partition(".")[0]
PACKAGES = (
    *(ENGINE, "lightning.pytorch", "lightning.fabric", "optuna"),
    *("mlflow", "alembic", "urllib3", "onnxscript", "onnx_ir"),
)
"""Packages whose log messages are shown."""
LOG_WIDTH = 110  # characters per line, in the log file and where stdout is not a terminal

_consoles: list[Console] = []


def open_log(file: Path, package: str) -> None:
    """Send the output of `show` to stdout and append it, without colours, to `file`.

    Warnings and the log messages of `package` and `PACKAGES` are sent there too. Only the process of rank 0 shows
    anything.
    """
    close_log()
    if rank() == 0:
        on_terminal = sys.stdout.isatty()
        _consoles.append(
            _Terminal(highlight=False, soft_wrap=not on_terminal, width=None if on_terminal else LOG_WIDTH)
        )
        draw_bars_on(_consoles[0])
        if not _is_stdout(file):  # as in a job of a sweep
            log = file.open("a", encoding="utf-8")
            _consoles.append(Console(file=log, highlight=False, soft_wrap=True, width=LOG_WIDTH))
    for name in (package, *PACKAGES, "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if name in (package, ENGINE) else logging.WARNING)
        logger.handlers = [_ConsoleHandler()]
        logger.propagate = False
    logging.captureWarnings(True)
    # Lightning 2.6 with torch 2.14: a user of this program cannot fix it.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # The default interval suits 50,000 samples at batch 4; on a small set `build_trainer` shortens it.
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    # A resumed run finds its own checkpoints.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Lightning suggests srun; here sweeps use SLURM by launcher=slurm.
    warnings.filterwarnings("ignore", message="The `srun` command is available")


def _is_stdout(file: Path) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:  # there is no such file yet, or nothing behind stdout
        return False


def close_log() -> None:
    """Close the log file; `show` prints nothing until `open_log` is called again."""
    draw_bars_on(None)
    for console in _consoles:
        if console.file is not sys.stdout:
            console.file.close()
    _consoles.clear()


def show(content: RenderableType) -> None:
    """Print text or a table to the terminal and the log file."""
    for console in [*_consoles]:
        # no line breaks in text: commands and paths must stay whole to be copied
        try:
            console.print(_Sanitized(content), soft_wrap=isinstance(content, Text))
        except OSError as error:
            if not isinstance(console, _Terminal) or len(_consoles) == 1:
                raise
            console.drop(f"Standard output: {error.strerror}.")


class _Terminal(Console):
    def show_cursor(self, show: bool = True) -> bool:
        """Leave the cursor visible beside a bar: a killed process could not show it again."""
        return False

    def on_broken_pipe(self) -> None:
        """Continue with the log file alone when the reader of stdout, such as `head`, has exited."""
        self.drop("The reader of the output has exited.")

    def drop(self, reason: str) -> None:
        """Continue with the log file alone."""
        _consoles.remove(self)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        show(Text(f"{reason} The run continues; the rest is in this log."))


class _Sanitized:
    """Content without control characters: a name of a file or class may hold some that a terminal would execute."""

    def __init__(self, content: RenderableType) -> None:
        self.content = content

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.content, options):
            yield segment if segment.control else Segment(printable(segment.text, kept="\n"), segment.style)


class _ConsoleHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        show(Text(record.getMessage().rstrip(), style="yellow" if record.levelno >= logging.WARNING else ""))


def show_facts(title: str, facts: Mapping[str, str], folder: Path | None = None) -> None:
    """Print the header of a command: one line per fact, then the run folder.

    Args:
        title: the package and the name of the command.
        facts: lines by name; empty ones are left out.
        folder: the run folder, if there is one.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True, min_width=len("run folder"))
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(value))
    show(Text(title, style="bold"))
    show(Padding(table, (0, 0, 0, 2), expand=False))
    if folder is not None:  # outside the table, which would break a long path into lines
        show(Text.assemble(("  run folder", "cyan"), f"  {short(folder)}"))


def show_resumed(checkpoint: Path, steps: int) -> None:
    """Print at which optimizer step a run resumes."""
    show(Text.assemble(("  resumes", "cyan"), f"     after {counted(steps, 'step')}, from {checkpoint.name}"))


def show_resume_command(module: str, folder: Path, steps: int) -> None:
    """Print how many optimizer steps an interrupted run has saved, and the command that resumes it."""
    show(Text(f"interrupted, {counted(steps, 'step') if steps else 'no step'} saved"))
    show(Text(f"resume     {command_for(module, [f'resume={short(folder)}'])}"))


def show_results(folder: Path) -> None:
    """Print the paths of `metrics.json` and `report.html`, where they exist."""
    for name, file in (("results", "metrics.json"), ("report", "report.html")):
        if (folder / file).exists():
            show(Text(f"{name:<11}{short(folder / file)}"))


def show_next_steps(module: str, folder: Path, checkpoint: str, config: Mapping[str, Any]) -> None:
    """Print the commands to evaluate the checkpoint and to open the loggers' dashboards.

    Args:
        module: of the command to evaluate.
        folder: the run folder.
        checkpoint: a path, or empty if there is none.
        config: of the run.
    """
    loggers, config_dir = config["logger"], config.get("config_dir")
    if checkpoint:
        words = [f"checkpoint={short(Path(checkpoint))}", *_not_in_checkpoints(_words_of(folder), config)]
        show(Text(f"evaluate   {command_for(module, words, short(Path(config_dir)) if config_dir else None)}"))
    if loggers.get("tensorboard"):
        show_dashboard(folder)
    if (mlflow := loggers.get("mlflow")) and str(mlflow.get("tracking_uri")).startswith("sqlite:///"):
        from lab_engine.training.loggers.build import sqlite_file

        uri = shlex.quote(f"sqlite:///{short(sqlite_file(mlflow['tracking_uri']))}")
        first = "" if find_spec("flask") else "  # after: pip install mlflow"  # mlflow-skinny has no user interface
        show(Text(f"dashboard  {_script('mlflow')} ui --backend-store-uri {uri}{first}"))
    if (wandb := loggers.get("wandb")) and wandb.get("offline"):
        show(Text(f"upload     {_script('wandb')} sync {shlex.quote(short(folder / 'wandb'))}/offline-run-*"))


def _words_of(folder: Path) -> list[str]:
    """Return the words of the command that started a run; of one that repeats another, those of the other."""
    started = read_environment(folder)
    words = shlex.split(started.command) if started else []
    repeated = [word.removeprefix("from=") for word in words if word.startswith("from=")]
    return _words_of(Path(repeated[0])) if repeated else words


def _not_in_checkpoints(words: Iterable[str], config: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words for folders and classes, which no checkpoint may choose, as `evaluate` takes them."""
    taken = {"task", "data", *config["task"].get("takes", ()), *config["data"].get("takes", ())}
    for word in words:
        key, _, value = word.lstrip("+").partition("=")
        if key == "data.root":  # the user may be in another folder by now
            yield override(key, short(Path(config["data"]["root"])))
        elif "_target_" in word and "." in key and key.partition(".")[0] in taken:
            yield f"+{key}={value}"


def show_dashboard(folder: Path) -> None:
    """Print the command that opens TensorBoard on the folder of a run or a sweep."""
    show(Text(f"dashboard  {_script('tensorboard')} --logdir {shlex.quote(short(folder))}"))


def _script(name: str) -> str:
    return shlex.quote(installed(name))
