"""`from=RUN_FOLDER`: repeat a run in a new folder and compare the results."""

from pathlib import Path
from typing import Any

from lab_engine.artifacts.run_folder import RunFolder
from lab_engine.config.command import Command
from lab_engine.reports.comparison import compare, comparison_lines, refuse_unreadable, write_comparison
from lab_engine.runs.running import run_in_folder
from lab_engine.training import terminal

Config = dict[str, Any]


def reproduce(original: Path, command: Command, config: Config) -> None:
    """Repeat the run, compare, and write `comparison.json` into the new folder.

    Args:
        original: folder of the run, which is done.
        command: whose run it is.
        config: of the run, with its paths rebased on the new folder.

    Raises:
        UserError: the files of the original run cannot be read.
        SystemExit: with status 1 if the results differ.
    """
    refuse_unreadable(original, weights=config["callbacks"].get("checkpoint") is not None)
    folder = Path(config["folder"])
    with RunFolder(folder, "hydra.run.dir"):
        run_in_folder(command, config)

    comparison = compare(original, folder)
    write_comparison(folder, comparison)
    # with several devices, this process has not opened the log
    terminal.open_log(folder / f"{command.name}.log", command.package)
    for line in comparison_lines(comparison, folder):
        terminal.show(line)
    terminal.close_log()
    if not comparison.same:
        raise SystemExit(1)
