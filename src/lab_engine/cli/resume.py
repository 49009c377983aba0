"""`resume=RUN_FOLDER`: an interrupted run resumes in its own folder, with its own settings."""

from pathlib import Path
from typing import Any

from lab_engine.artifacts.checkpoint import latest_checkpoint
from lab_engine.artifacts.run_folder import hold
from lab_engine.base.errors import UserError
from lab_engine.base.program import short
from lab_engine.config.command import Command
from lab_engine.runs.recorded import keep, read_recorded, tell_if_done
from lab_engine.runs.running import compute
from lab_engine.sweeps.worker import work_held

Config = dict[str, Any]


def resume(folder: Path, command: Command, config_dir: Path | None, devices: Any = None) -> None:
    """Resume from the last checkpoint; a run without one starts from the beginning. A finished run is not changed.

    Args:
        folder: of the run.
        command: whose run it is.
        config_dir: where the run's own modules are; None: where the configuration says.
        devices: to resume on in place of the recorded ones, or None.

    Raises:
        UserError: the configuration in the folder is refused, or another process works on the run.
        SystemExit: with the exit status of a job of a sweep, if it is not 0.
    """
    with hold(folder):
        if tell_if_done(folder):  # the process that held the lock before may have finished it
            return
        config = read_recorded(folder, command, config_dir, devices)
        _refuse_several_nodes(config, folder)
        keep(config)
        if latest_checkpoint(folder) is None:
            print(  # noqa: T201
                f"{short(folder)} holds no checkpoint to resume from: it starts from the beginning.", flush=True
            )
        if not (folder / "job.json").exists():
            compute(command, config)
            return
        status = work_held(command.module, folder)
    if status:
        raise SystemExit(status)


def _refuse_several_nodes(config: Config, folder: Path) -> None:
    nodes = config["trainer"]["num_nodes"]
    if nodes > 1:
        raise UserError(
            f"{folder} is a run on {nodes} machines (trainer.num_nodes), whose processes SLURM starts.\n"
            "Repeat the command that started its sweep, with hydra.sweep.dir= and the folder of the sweep."
        )
