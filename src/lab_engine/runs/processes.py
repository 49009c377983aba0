"""The processes of a run: one a device, started by PyTorch's own launcher (the one behind `torchrun`)."""

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

from lab_engine.base.devices import cores, environment, rank, without_ranks
from lab_engine.base.errors import UserError
from lab_engine.base.signals import SIGNALS, Interrupted, ended_by_signals
from lab_engine.config.command import EXIT_USER_ERROR, SHOW_TRACEBACK, load_command, read_config
from lab_engine.config.command_line import COMMAND_VARIABLE, as_typed
from lab_engine.config.explain import explain, naming, one_line
from lab_engine.training.speed import on_cpu

EXIT_LEFT_ALONE = 3  # of a process of several that has lost another, which tells why
EXIT_WAITED = 4  # of one that another has given no answer
EXITS_AFTER_OTHERS = (EXIT_LEFT_ALONE, -signal.SIGTERM)  # the launcher ends those that are left
PROCESSES_A_CORE = 8  # at most, without a GPU
SECONDS_BETWEEN_LOOKS = 0.2  # at whether the parent lives
SECONDS_FOR_THE_CAUSE = 5.0  # that the one at fault may take to end after the others have lost it
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit statuses

GONE = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "remote process exited")
SILENT = ("Timed out waiting", "Application timeout", "Timeout waiting")
"""What the libraries that devices talk through, Gloo and NCCL, say of another that has ended, or gives no answer."""


class ProcessFailedError(SystemExit):
    """A process of the run has failed.

    Attributes:
        reason: a line.
        killed: by a signal.
    """

    def __init__(self, reason: str, killed: bool = False, printed: bool = False) -> None:
        super().__init__(1 if printed else f"error: {reason}")
        self.reason = reason
        self.killed = killed


def refuse_too_many(trainer: dict[str, Any], count: int) -> None:
    """Refuse so many devices that the machine would come to a stand, as by a slip of the finger.

    Raises:
        UserError: without a GPU each device is a process, and so many would only wait for each other.
    """
    most = max(PROCESSES_A_CORE * cores(), 16)
    if count <= most:
        return
    if on_cpu(trainer):
        raise UserError(
            f"trainer.devices={count} is refused: without a GPU that is as many processes, for {cores()} cores.\n"
            f"Give a smaller number: {most} at most, and about {cores()} for speed."
        )


def run_on_devices(module: str, config: dict[str, Any], count: int) -> dict[str, Any]:
    """Call `run` of `module` in `count` processes, from `config.yaml` in the run folder.

    If one of them fails the others are stopped.

    Returns:
        What the run wrote to `metrics.json`.

    Raises:
        UserError: of one of the processes.
        ProcessFailedError: any other failure of theirs; it ends the program with status 1.
    """
    # The processes report their own errors; the launcher would add a page to each.
    for name in logging.root.manager.loggerDict:  # some of them have a level of their own
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    variables = without_ranks(os.environ) | {
        "OMP_NUM_THREADS": str(max(cores() // count, 1)),
        COMMAND_VARIABLE: as_typed(),
    }
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=str(uuid.uuid4()),
        rdzv_backend="c10d",
        rdzv_endpoint="127.0.0.1:0",  # a free port, so runs beside each other do not meet
        local_addr="127.0.0.1",
        max_restarts=0,
        start_method="spawn",
    )
    words = ("-m", "lab_engine.runs.processes", str(os.getpid()), module, config["folder"])
    try:
        with environment(variables):
            elastic_launch(launch, sys.executable)(*words)
    except SignalException as error:  # sent on to the processes, which have ended
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
            raise ProcessFailedError(failure.message, printed=failure.exitcode != EXIT_WAITED) from None
        reason = f"the process of device {number} has died: {failure.message}"
        raise ProcessFailedError(reason, killed=True) from None
    metrics: dict[str, Any] = json.loads((Path(config["folder"]) / "metrics.json").read_text())
    return metrics


def die_with(parent: int) -> None:
    """End this process as soon as `parent`, which has started it, has ended: nobody else would."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def leave_group() -> None:
    """Leave the group of processes, if there is one; Lightning does so for NCCL only.

    With Gloo, whose threads still run, a process that just ended would now and then abort (2 of 40 did).
    """
    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def _why_left_alone(error: Exception) -> tuple[str, int] | None:
    """Explain in a line what has become of the other devices, and the exit status, where `error` comes from that."""
    if not isinstance(error, RuntimeError):  # as all errors of torch.distributed are
        return None
    if any(words in str(error) for words in GONE):
        return f"device {rank()} has lost the connection to another device", EXIT_LEFT_ALONE
    if any(words in str(error) for words in SILENT):
        stopped = _stopped()
        others = f"device {stopped[0]}, which is stopped" if stopped else "another device, which hangs"
        return f"device {rank()} has waited in vain for {others}", EXIT_WAITED
    return None


def _stopped() -> list[str]:
    """Return the numbers of those processes of this run on this machine that somebody has stopped (SIGSTOP)."""
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
    try:
        with naming(Path(folder)), ended_by_signals():
            load_command(module).run(read_config(Path(folder)))
    except KeyboardInterrupt:  # before or after training, where nothing is to be kept
        raise Interrupted(signal.SIGINT) from None
    except Exception as error:
        text = explain(error)
        status = EXIT_USER_ERROR if text else 1
        if text is None and (left_alone := _why_left_alone(error)):
            text, status = left_alone
        if text is None or SHOW_TRACEBACK:
            traceback.print_exc()
        # Told to the launcher; a user would read it once for each process.
        report = {"message": text or one_line(error), "timestamp": int(time.time())}
        Path(os.environ["TORCHELASTIC_ERROR_FILE"]).write_text(json.dumps(report))
        if status == EXIT_LEFT_ALONE:
            time.sleep(SECONDS_FOR_THE_CAUSE)  # the launcher ends this process as soon as it knows of another's end
        raise SystemExit(status) from None
    finally:
        leave_group()


if __name__ == "__main__":
    main()
