"""Run one job, here or on another machine: `python -m lab_engine.sweeps.worker MODULE RUN_FOLDER`."""

import os
import sys
import time
import traceback
from contextlib import suppress
from pathlib import Path

from lab_engine.artifacts.run_folder import lock
from lab_engine.base.devices import device_count, environment, fork_workers, rank
from lab_engine.base.signals import Interrupted
from lab_engine.base.streams import prepare_streams
from lab_engine.base.wording import printable
from lab_engine.config.command import EXIT_USER_ERROR, SHOW_TRACEBACK, load_command, read_config
from lab_engine.config.command_line import COMMAND_VARIABLE, without_passwords
from lab_engine.config.config_dir import KEY
from lab_engine.config.explain import NO_MEMORY, explain, naming, one_line
from lab_engine.config.tracebacks import shorten
from lab_engine.runs.processes import ProcessFailedError, leave_group, run_on_devices
from lab_engine.sweeps.job import State, command_of, read_record, write_record

SECONDS_TO_RECORD = 5.0  # for rank 0 to write a failure of all ranks: srun kills it when another rank has failed


def work(module: str, folder: Path, launched: bool = False) -> int:
    """Run the job in `folder` from its `config.yaml`, and record its end in `job.json`.

    If another process works on the job, wait for it. A job with a checkpoint resumes; a finished one is not changed.

    Args:
        module: of the command, such as "my_lab.train".
        folder: the run folder.
        launched: this is one of several processes of the run, as SLURM starts them; rank 0 writes `job.json`.

    Returns:
        The exit status: 0, 1, or 2 for a user's error.
    """
    fork_workers()
    prepare_streams()
    if launched and rank() > 0:
        status = 0 if _is_done(folder) else _run(module, folder, launched)[0]
        time.sleep(SECONDS_TO_RECORD if status else 0)
        return status
    with lock(folder):
        return work_held(module, folder, launched)


def work_held(module: str, folder: Path, launched: bool = False) -> int:
    """Run a job as `work` does, in a process that holds the lock of `folder`."""
    if _is_done(folder):
        return 0
    record = read_record(folder)
    if record:
        files = [*folder.glob("*.log"), *folder.glob("*.csv")]
        record.begin(max((file.stat().st_mtime for file in files), default=0.0))
        write_record(folder, record)
    status, state, reason = _run(module, folder, launched)
    if record:
        done = _is_done(folder)
        record.end("done" if done else state, "" if done else reason)
        with suppress(OSError):  # the disk is full: the job counts as interrupted, and its log has the error
            write_record(folder, record)
    return status


def _is_done(folder: Path) -> bool:
    return (folder / "metrics.json").exists()


def _run(module: str, folder: Path, launched: bool) -> tuple[int, State, str]:
    """Return the exit status, and the state and the reason of a job that left no metrics."""
    try:
        with naming(folder):
            config = read_config(folder)
        with naming(folder), environment({**os.environ, **_alone(module, folder, config.get(KEY))}):
            if launched or (count := device_count(config["trainer"])) == 1:
                load_command(module).run(config)
            else:
                run_on_devices(module, config, count)
    except ProcessFailedError as error:
        if error.code != 1:  # with 1, the process has printed the reason itself
            print(printable(str(error.code)), file=sys.stderr)  # noqa: T201
        return 1, "killed" if error.killed else _failure(error.reason), error.reason
    except SystemExit as error:
        if isinstance(error, Interrupted):
            return error.status, "interrupted", ""
        return 1, "failed", str(error.code).removeprefix("error: ")
    except KeyboardInterrupt:
        return 1, "interrupted", ""
    except Exception as error:
        text = explain(error)
        if text is None or SHOW_TRACEBACK:
            traceback.print_exception(shorten(error))
        if text is None:
            return 1, _failure(one_line(error)), one_line(error)
        if rank() == 0:
            print(f"error: {printable(text, kept=chr(10))}", file=sys.stderr)  # noqa: T201
        return EXIT_USER_ERROR, _failure(one_line(error)), " ".join(text.splitlines())
    finally:
        if launched:
            leave_group()
    return 0, "failed", "it ended without metrics"


def _alone(module: str, folder: Path, config_dir: str | None) -> dict[str, str]:
    """Return the environment variable with the command that runs this job as a single run; empty without a job."""
    command = command_of(folder, module, config_dir)
    return {COMMAND_VARIABLE: without_passwords(command)} if command else {}


def _failure(reason: str) -> State:
    memory = reason.startswith(("MemoryError", "OutOfMemoryError")) or any(words in reason for words in NO_MEMORY)
    return "out of memory" if memory else "failed"


if __name__ == "__main__":
    from lab_engine.base.devices import launched_by_slurm

    sys.exit(work(sys.argv[1], Path(sys.argv[2]), launched=launched_by_slurm()))
