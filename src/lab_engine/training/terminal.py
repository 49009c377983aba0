"""What a run says: to a person on the terminal, and in the same words to the run's log."""

import logging
import os
import shlex
import shutil
import sys
import warnings
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.console import Console, ConsoleOptions, RenderableType
from rich.padding import Padding
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from lab_engine.base.devices import rank
from lab_engine.base.wording import counted, printable

ENGINE = __name__.partition(".")[0]
PACKAGES = (
    *(ENGINE, "lightning.pytorch", "lightning.fabric", "optuna"),
    *("mlflow", "alembic", "urllib3", "onnxscript", "onnx_ir"),
)
"""Whose log messages are shown."""
LOG_WIDTH = 110  # characters, of the log file and of output that goes to no terminal

_consoles: list[Console] = []


def open_log(file: Path, package: str) -> None:
    """Send what `show` is given to the terminal and, without colours, to the end of `file`.

    Warnings, and the log messages of `package` and of `PACKAGES`, go the same way. In a process that is not the first
    of its run nothing is shown or written but errors.
    """
    close_log()
    if rank() == 0:
        on_terminal = sys.stdout.isatty()
        _consoles.append(
            _Terminal(highlight=False, soft_wrap=not on_terminal, width=None if on_terminal else LOG_WIDTH)
        )
        if not _is_stdout(file):  # as in a job of a sweep
            _consoles.append(Console(file=file.open("a"), highlight=False, soft_wrap=True, width=LOG_WIDTH))
    for name in (package, *PACKAGES, "py.warnings"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO if name in (package, ENGINE) else logging.WARNING)
        logger.handlers = [_ToConsoles()]
        logger.propagate = False
    logging.captureWarnings(True)
    # Lightning 2.6 with torch 2.14: nothing that a user of this program could mend.
    warnings.filterwarnings("ignore", message=".*LeafSpec.* is deprecated")
    # The default interval suits 50,000 samples at batch 4; on a small set `build_trainer` shortens it.
    warnings.filterwarnings("ignore", message=".*is smaller than the logging interval.*")
    # A run that continues finds its own checkpoints.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # A hint for those who have SLURM: sweeps go there with launcher=slurm.
    warnings.filterwarnings("ignore", message="The `srun` command is available")


def _is_stdout(file: Path) -> bool:
    try:
        return os.path.samestat(file.stat(), os.fstat(sys.stdout.fileno()))
    except OSError:  # there is no such file yet, or nothing behind stdout
        return False


def close_log() -> None:
    """Close the log file; `show` is silent from now on."""
    for console in _consoles:
        if console.file is not sys.stdout:
            console.file.close()
    _consoles.clear()


def show(what: RenderableType) -> None:
    """Print text or a table."""
    for console in _consoles:
        # a command or path that the console cut into lines could not be copied
        console.print(_Printable(what), soft_wrap=isinstance(what, Text))


class _Terminal(Console):
    def on_broken_pipe(self) -> None:
        """Keep the log alone: the reader of the output, such as `head`, has gone, and the run is worth more than it."""
        _consoles.remove(self)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        show(Text("Nobody reads the output any more: the run goes on, and this log has the rest."))


class _Printable:
    """Something to print, less what a terminal would obey: names of files and classes may be a stranger's."""

    def __init__(self, what: RenderableType) -> None:
        self.what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        for segment in console.render(self.what, options):
            yield segment if segment.control else Segment(printable(segment.text, kept="\n"), segment.style)


class _ToConsoles(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        show(Text(record.getMessage().rstrip(), style="yellow" if record.levelno >= logging.WARNING else ""))


def show_facts(title: str, facts: Mapping[str, str], folder: Path | None = None) -> None:
    """Print what is about to happen, a line a fact that is not empty, and in which run folder.

    Args:
        title: the package and the name of the command.
        facts: by name.
        folder: of the run, if it has one.
    """
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True, min_width=len("run folder"))
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value:
            table.add_row(name, Text(value))
    show(Text(title, style="bold"))
    show(Padding(table, (0, 0, 0, 2), expand=False))
    if folder is not None:  # outside the table, which would cut a long path into lines
        show(Text.assemble(("  run folder", "cyan"), f"  {short(folder)}"))


def show_goes_on(checkpoint: Path, steps: int) -> None:
    """Print where an interrupted run goes on."""
    show(Text.assemble(("  goes on", "cyan"), f"     after {counted(steps, 'step')}, from {checkpoint.name}"))


def show_how_to_go_on(module: str, folder: Path, steps: int) -> None:
    """Print what an interrupted run has kept, and the command that continues it."""
    show(Text(f"interrupted, {counted(steps, 'step') if steps else 'no step'} kept"))
    show(Text(f"go on      {_script('python')} -m {module} resume={shlex.quote(short(folder))}"))


def show_results(folder: Path) -> None:
    """Print where the results are."""
    for name, file in (("results", "metrics.json"), ("report", "report.html")):
        if (folder / file).exists():
            show(Text(f"{name:<11}{short(folder / file)}"))


def show_next_steps(module: str, folder: Path, checkpoint: str, config: Mapping[str, Any]) -> None:
    """Print the commands that go on from here.

    Args:
        module: of the command that evaluates.
        folder: of the run.
        checkpoint: a path, or empty if there is none.
        config: of the run.
    """
    loggers, config_dir = config["logger"], config.get("config_dir")
    if checkpoint:
        path = shlex.quote(short(Path(checkpoint)))
        own = f" --config-dir={shlex.quote(short(Path(config_dir)))}" if config_dir else ""
        folders = "".join(f" {shlex.quote(word)}" for word in sys.orig_argv if word.startswith("data.root="))
        show(Text(f"evaluate   {_script('python')} -m {module}{own} checkpoint={path}{folders}"))
    if loggers.get("tensorboard"):
        show_dashboard(folder)
    if (mlflow := loggers.get("mlflow")) and str(mlflow.get("tracking_uri")).startswith("sqlite:///"):
        from lab_engine.training.loggers.build import sqlite_file

        uri = shlex.quote(f"sqlite:///{short(sqlite_file(mlflow['tracking_uri']))}")
        first = "" if find_spec("flask") else "  # after: pip install mlflow"  # mlflow-skinny has no user interface
        show(Text(f"dashboard  {_script('mlflow')} ui --backend-store-uri {uri}{first}"))
    if (wandb := loggers.get("wandb")) and wandb.get("offline"):
        show(Text(f"upload     {_script('wandb')} sync {shlex.quote(short(folder / 'wandb'))}/offline-run-*"))


def show_dashboard(folder: Path) -> None:
    """Print the command that opens TensorBoard on a run or a sweep."""
    show(Text(f"dashboard  {_script('tensorboard')} --logdir {shlex.quote(short(folder))}"))


def short(path: Path) -> str:
    """Return a path below the current folder without it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _script(name: str) -> str:
    """How to call a script that is installed beside this Python: by its name where PATH leads to it."""
    installed = Path(sys.executable).parent / name
    return name if shutil.which(name) == str(installed) else shlex.quote(short(installed))
