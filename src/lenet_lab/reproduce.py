"""`from=RUN_FOLDER`: do a run again in a new folder, and say whether the result is the same."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from lenet_lab.config import Command, config_folder
from lenet_lab.errors import UserError
from lenet_lab.recorded import Request, check_folder, read_recorded, refuse_foreign, show
from lenet_lab.run_folder import RunFolder, in_folder
from lenet_lab.running import run_in_folder

Config = dict[str, Any]


def reproduce(request: Request, command: Command, run: Callable[[Config], dict[str, Any]]) -> None:
    """Repeat the run, compare, and leave `comparison.json` in the new folder.

    Raises:
        UserError: the folder holds no such run, is another user's, or the run is not done.
        SystemExit: with status 1: the result is another one.
    """
    original = request.folder
    check_folder(original, "from")
    if not (request.show or request.trust):
        refuse_foreign(original, "from")
    if not (original / "metrics.json").exists():
        raise UserError(
            f"from={original} is a run that is not done (no metrics.json): there is nothing to compare with.\n"
            f"Go on with it first: resume={original}"
        )
    config = read_recorded(original, command, request.config_dir)
    if not request.show:
        from lenet_lab.comparison import refuse_unreadable

        refuse_unreadable(original, weights=config["callbacks"].get("checkpoint") is not None)
    config = in_folder(config, _new_folder(command.name, request.place))
    if request.show:
        show(config)
        return
    folder = Path(config["folder"])
    Command.folder = RunFolder(folder, "hydra.run.dir")
    run_in_folder(command.name, config, run, resumes=True)

    from lenet_lab import terminal
    from lenet_lab.comparison import compare, describe, write_comparison

    comparison = compare(original, folder)
    write_comparison(folder, comparison)
    terminal.open_log(folder / f"{command.name}.log")  # with several devices, only their processes had it open
    for line in describe(comparison, folder):
        terminal.show(line)
    terminal.close_log()
    if not comparison.same:
        raise SystemExit(1)


def _new_folder(name: str, place: Sequence[str]) -> Path:
    """Choose a run folder as Hydra does for a new run."""
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        composed = compose(name, overrides=list(place), return_hydra_config=True)
    return Path(composed.hydra.run.dir).expanduser().absolute()
