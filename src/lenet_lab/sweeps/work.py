"""What a job's process does, here or on another machine: `python -m lenet_lab.sweeps.work MODULE RUN_FOLDER…`."""

import importlib
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from lenet_lab.command import EXIT_USER_ERROR, SHOW_TRACEBACK, Config, read_config
from lenet_lab.explain import NO_MEMORY, explain, naming, one_line
from lenet_lab.interruption import Interrupted
from lenet_lab.processes import ProcessFailedError, device_count, leave_group, rank, run_on_devices
from lenet_lab.run_folder import lock
from lenet_lab.sweeps.job import State, read_record, write_record
from lenet_lab.sweeps.together import JobsFailedError
from lenet_lab.wording import printable

SECONDS_FOR_NOTES = 5.0  # of the first process on a failure that all have met: srun ends it when another ends so


def work(module: str, folders: Sequence[Path], launched: bool = False) -> int:
    """Run the jobs in `folders`, each from its `config.yaml`, and note in each `job.json` how that went.

    A job that another process works on is waited for; one that is done is left alone, and one that has a checkpoint
    goes on from there. Several jobs are trained together.

    Args:
        module: whose `run` does the work, such as "lenet_lab.train".
        folders: run folders.
        launched: this is one of several processes of the run already, as SLURM starts them; the first one takes notes.

    Returns:
        The exit status: 0, 1, or 2 for a user's error.
    """
    if launched and rank() > 0:
        left = _left(folders)
        status = _run(module, left, launched)[0] if left else 0
        time.sleep(SECONDS_FOR_NOTES if status else 0)
        return status
    with ExitStack() as locks:
        for folder in sorted(set(folders)):  # in one order, or two commands could wait for each other
            locks.enter_context(lock(folder))
        return work_held(module, folders, launched)


def work_held(module: str, folders: Sequence[Path], launched: bool = False) -> int:
    """Do as `work`, in a process that holds the locks of `folders`."""
    left = _left(folders)
    if not left:
        return 0
    records = {folder: read_record(folder) for folder in left}
    for folder, record in records.items():
        if record:
            record.begin(
                max((file.stat().st_mtime for file in [*folder.glob("*.log"), *folder.glob("*.csv")]), default=0.0)
            )
            write_record(folder, record)
    status, state, reason = _run(module, left, launched)
    for folder, record in records.items():
        if record:
            done = (folder / "metrics.json").exists()
            own = reason if isinstance(reason, str) else _in_a_line(reason.get(str(folder), ""))
            record.end("done" if done else state, "" if done else own)
            with suppress(OSError):  # of a full disk; the job counts as interrupted, and has said so in its log
                write_record(folder, record)
    return status


def _left(folders: Sequence[Path]) -> list[Path]:
    return [folder for folder in folders if not (folder / "metrics.json").exists()]


def _run(module: str, folders: Sequence[Path], launched: bool) -> tuple[int, State, str | Mapping[str, str]]:
    """Give the exit status, and the state and the reason of jobs that left no metrics, or the reason of each."""
    try:
        with naming(folders[0] if len(folders) == 1 else folders[0].parent):
            _do(module, [read_config(folder) for folder in folders], launched)
    except ProcessFailedError as error:
        if error.code != 1:  # else the process has printed why
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
            traceback.print_exc()
        if text is None:
            return 1, _failure(one_line(error)), one_line(error)
        if rank() == 0:
            print(f"error: {printable(text, kept=chr(10))}", file=sys.stderr)  # noqa: T201
        reason = error.reasons if isinstance(error, JobsFailedError) else _in_a_line(text)
        return EXIT_USER_ERROR, _failure(one_line(error)), reason
    finally:
        if launched:
            leave_group()
    return 0, "failed", "it ended without metrics"


def _do(module: str, configs: Sequence[Config], launched: bool) -> None:
    if len(configs) > 1:
        from lenet_lab.sweeps.together import train_together

        train_together(configs)
    elif launched or (count := device_count(configs[0]["trainer"])) == 1:
        importlib.import_module(module).run(configs[0])
    else:
        run_on_devices(module, configs[0], count)


def _in_a_line(text: str) -> str:
    return " ".join(text.splitlines())


def _failure(reason: str) -> State:
    memory = reason.startswith(("MemoryError", "OutOfMemoryError")) or any(words in reason for words in NO_MEMORY)
    return "out of memory" if memory else "failed"


if __name__ == "__main__":
    from lenet_lab.processes import launched_by_slurm

    words = sys.argv[1:]
    sys.exit(work(words[0], [Path(word) for word in words[1:]], launched=launched_by_slurm()))
