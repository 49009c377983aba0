"""The processes of a run: one per device, started by PyTorch's own launcher (the one behind `torchrun`)."""

import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from torch import distributed
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from lab_engine.base.devices import cores, environment, fork_workers, rank, without_ranks
from lab_engine.base.errors import UserError
from lab_engine.base.signals import SIGNALS, Interrupted, ended_by_signals
from lab_engine.base.streams import prepare_streams
from lab_engine.config.command import EXIT_USER_ERROR, SHOW_TRACEBACK, load_command, read_config
from lab_engine.config.command_line import COMMAND_VARIABLE, started_as
from lab_engine.config.explain import explain, naming, one_line
from lab_engine.config.tracebacks import shorten
from lab_engine.training.speed import on_cpu

EXIT_CONNECTION_LOST = 3  # another process of the run has ended; that one reports the cause
EXIT_TIMED_OUT = 4  # another process of the run did not answer
EXITS_AFTER_OTHERS = (EXIT_CONNECTION_LOST, -signal.SIGTERM)  # the launcher sends SIGTERM to the remaining processes
MAX_PROCESSES_PER_CORE = 8  # without a GPU
POLL_SECONDS = 0.2  # between checks that the parent lives
SECONDS_FOR_THE_CAUSE = 5.0  # for the process at fault to end after the others have lost the connection
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit statuses

CONNECTION_LOST = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
TIMED_OUT = ("timed out", "timeout")
"""Parts of messages of Gloo and NCCL where another process has ended and, in lower case, where it does not answer."""


class ProcessFailedError(SystemExit):
    """A process of the run has failed.

    Attributes:
        reason: one line.
        killed: a signal ended the process.
    """

    def __init__(self, reason: str, killed: bool = False, printed: bool = False) -> None:
        super().__init__(1 if printed else f"error: {reason}")
        self.reason = reason
        self.killed = killed


def refuse_too_many(trainer: dict[str, Any], count: int) -> None:
    """Refuse a number of devices, perhaps a typing error, that would bring the machine to a standstill.

    Raises:
        UserError: without a GPU, each device is a process, and there are too many for the cores.
    """
    most = max(MAX_PROCESSES_PER_CORE * cores(), 16)
    if count > most and on_cpu(trainer):
        raise UserError(
            f"trainer.devices={count} is refused: without a GPU, each device is a process, and there are {cores()} "
            f"cores.\nGive a smaller number: {most} at most, and about {cores()} for speed."
        )


def run_on_devices(module: str, config: dict[str, Any], count: int) -> dict[str, Any]:
    """Call `run` of `module` in `count` processes, from `config.yaml` in the run folder.

    If one of them fails, the others are stopped.

    Returns:
        The metrics that the run wrote to `metrics.json`.

    Raises:
        UserError: one of the processes has raised it.
        ProcessFailedError: a process has failed in any other way; it ends the program with status 1.
    """
    # The processes report their own errors; the launcher would add a page to each.
    for name in logging.root.manager.loggerDict:  # a level set on the parent would not reach those that set their own
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    variables = without_ranks(os.environ) | {
        "OMP_NUM_THREADS": str(max(cores() // count, 1)),
        COMMAND_VARIABLE: started_as(),
    }
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # a free port, so that runs at the same time do not connect to each other
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="spawn",
    )
    words = ("-m", "lab_engine.runs.processes", str(os.getpid()), module, config["folder"])
    try:
        with environment(variables):
            elastic_launch(launch, sys.executable)(*words)
    except SignalException as error:  # the launcher has sent the signal on, and the processes have ended
        raise Interrupted(error.sigval) from None
    except ChildFailedError as error:
        for failure in error.failures.values():
            if failure.exitcode == EXIT_USER_ERROR:
                raise UserError(failure.message) from None
        after_others = (*EXITS_AFTER_OTHERS, *INTERRUPTED)
        of_their_own = {n: each for n, each in error.failures.items() if each.exitcode not in after_others}
        if not of_their_own:
            for failure in error.failures.values():
                if failure.exitcode in INTERRUPTED:
                    raise Interrupted(failure.exitcode - 128) from None
            raise ProcessFailedError(error.get_first_failure()[1].message) from None
        number, failure = min(of_their_own.items(), key=lambda each: each[1].timestamp)
        if failure.exitcode > 0:
            raise ProcessFailedError(failure.message, printed=failure.exitcode != EXIT_TIMED_OUT) from None
        reason = f"the process of device {number} has died: {failure.message}"
        raise ProcessFailedError(reason, killed=True) from None
    metrics: dict[str, Any] = json.loads((Path(config["folder"]) / "metrics.json").read_text(encoding="utf-8"))
    return metrics


def die_with(parent: int) -> None:
    """Kill this process as soon as its parent, the process `parent`, has ended: nothing else would end it."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(POLL_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def leave_group() -> None:
    """Destroy a process group of Gloo; Lightning destroys those of NCCL only.

    Gloo's threads still run, and a process that exits without this sometimes aborts.
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def explain_lost_device(error: Exception) -> tuple[str, int] | None:
    """Return a line and the exit status if another device has caused `error`, else None."""
    if not isinstance(error, RuntimeError):  # as all errors of torch.distributed are
        return None
    if any(words in str(error) for words in CONNECTION_LOST):
        return f"device {rank()} has lost the connection to another device", EXIT_CONNECTION_LOST
    text = str(error).lower()
    of_processes = isinstance(error, distributed.DistError) or "gloo" in text  # a DataLoader has a timeout as well
    if of_processes and any(words in text for words in TIMED_OUT):
        stopped = _stopped()
        others = f"device {stopped[0]}, which is stopped" if stopped else "another device, which hangs"
        return f"device {rank()} has timed out waiting for {others}", EXIT_TIMED_OUT
    return None


def _stopped() -> list[str]:
    """Return the ranks of the processes of this run on this machine that are stopped (SIGSTOP)."""
    found = []
    parent = psutil.Process().parent()
    for process in parent.children() if parent else []:
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED:
                found.append(process.environ().get("RANK", "?"))
    return found


def main() -> None:
    """Run as one of the processes: `python -m lab_engine.runs.processes PARENT MODULE RUN_FOLDER`."""
    parent, module, folder = sys.argv[1:]
    die_with(int(parent))
    fork_workers()
    prepare_streams()
    try:
        with naming(Path(folder)), ended_by_signals():
            load_command(module).run(read_config(Path(folder)))
    except KeyboardInterrupt:  # before or after training, where there is nothing to save
        raise Interrupted(signal.SIGINT) from None
    except Exception as error:
        text = explain(error)
        status = EXIT_USER_ERROR if text else 1
        if text is None and (lost := explain_lost_device(error)):
            text, status = lost
        if text is None or SHOW_TRACEBACK:
            traceback.print_exception(shorten(error))
        # The launcher passes it on to the main process: printed here, it would appear once for each process.
        report = {"message": text or one_line(error), "timestamp": int(time.time())}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report))
        if status == EXIT_CONNECTION_LOST:
            time.sleep(SECONDS_FOR_THE_CAUSE)  # the launcher ends this process when it sees that the other has ended
        raise SystemExit(status) from None
    finally:
        leave_group()


if __name__ == "__main__":
    main()
