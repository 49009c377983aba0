"""`resume=RUN_FOLDER`: go on with a run that was interrupted, in its own folder, as it began."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from lenet_lab.config import Command, inherited_settings
from lenet_lab.errors import UserError
from lenet_lab.imports import import_quickly
from lenet_lab.recorded import Request, check_folder, keep, read_recorded, refuse_foreign, refuse_links, show
from lenet_lab.run_folder import hold
from lenet_lab.running import compute
from lenet_lab.terminal import short

Config = dict[str, Any]


def resume(
    request: Request,
    command: Command,
    run: Callable[[Config], dict[str, Any]],
    run_job: Callable[[str, Path], int],
) -> None:
    """Resume from the last checkpoint; a run without one begins anew. A finished run is not changed.

    Args:
        request: what the command line asks for.
        command: whose run it is.
        run: does it, where it is no job of a sweep.
        run_job: does it where it is one, from the command's module and the folder; returns the exit status.

    Raises:
        UserError: the folder holds no such run, is another user's, or another process works on it.
        SystemExit: with the status that the job of a sweep has ended with.
    """
    folder = request.folder
    check_folder(folder, "resume")
    if request.show:
        show(read_recorded(folder, command, request.config_dir))
        return
    if not request.trust:
        refuse_foreign(folder, "resume")
    refuse_links(folder)
    if _is_done(folder):
        return
    with hold(folder):
        if _is_done(folder):  # by the one who held it before
            return
        config = read_recorded(folder, command, request.config_dir)
        _refuse_several_nodes(config, folder)
        keep(config)
        _say_if_anew(folder)
        if not (folder / "job.json").exists():
            compute(command.name, config, run)
            return
        with inherited_settings():
            status = run_job(command.module, folder)
    if status:
        raise SystemExit(status)


def _is_done(folder: Path) -> bool:
    """Tell whether a run is done, and if so the user, too."""
    if not (folder / "metrics.json").exists():
        return False
    print(f"{short(folder)} is done: nothing is left to do.")  # noqa: T201
    print(f"results    {short(folder / 'metrics.json')}")  # noqa: T201
    return True


def _say_if_anew(folder: Path) -> None:
    import_quickly("torch")
    from lenet_lab.checkpoint import find_last

    if find_last(folder) is None:
        print(f"{short(folder)} holds no checkpoint to go on from: it begins anew.", flush=True)  # noqa: T201


def _refuse_several_nodes(config: Config, folder: Path) -> None:
    nodes = config["trainer"]["num_nodes"]
    if nodes > 1:
        raise UserError(
            f"{folder} is a run on {nodes} machines (trainer.num_nodes), whose processes SLURM starts.\n"
            "Repeat the command that it was begun with, with hydra.sweep.dir= and the folder of its sweep."
        )
