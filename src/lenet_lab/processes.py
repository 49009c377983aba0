"""The processes of a run: one a device, started by PyTorch's own launcher (the one behind `torchrun`)."""

import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lenet_lab.config import EXIT_USER_ERROR, SHOW_TRACEBACK, read_config
from lenet_lab.devices import cores, rank
from lenet_lab.errors import UserError
from lenet_lab.imports import import_quickly
from lenet_lab.interruption import SIGNALS, Interrupted, ended_by_signals

EXIT_LEFT_ALONE = 3  # of a process of several that has lost another, which tells why
EXIT_WAITED = 4  # of one that another has given no answer
EXITS_AFTER_OTHERS = (EXIT_LEFT_ALONE, -signal.SIGTERM)  # the launcher ends those that are left
PROCESSES_A_CORE = 8  # at most, without a GPU
SECONDS_BETWEEN_LOOKS = 0.2  # at whether the parent lives
SECONDS_FOR_THE_CAUSE = 5.0  # that the one at fault may take to end after the others have lost it
TURNS_OF_A_WAIT = "10000"  # of a busy loop: about what lies between two operations of a network
INTERRUPTED = tuple(128 + number for number in SIGNALS)  # exit statuses


FOREIGN = (
    *(
        "RANK",
        "LOCAL_RANK",
        "GROUP_RANK",
        "NODE_RANK",
        "ROLE_RANK",
        "WORLD_SIZE",
        "LOCAL_WORLD_SIZE",
        "GROUP_WORLD_SIZE",
    ),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_", "PMI_", "PMIX_", "OMPI_", "SLURM_", "SLURMD_", "JSM_", "LSB_"),
)
"""How variables begin that tell a process its place among others; of another launch, they would mislead a new one."""
NO_PLACE = ("SLURM_CONF", "SLURM_JWT")  # these tell how to reach SLURM
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


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Give the variables of `environment` less `FOREIGN`."""
    return {name: value for name, value in environment.items() if name in NO_PLACE or not name.startswith(FOREIGN)}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Have these variables and no others, for processes that are started meanwhile."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def stand_alone() -> None:
    """Forget the place among others that this process may have inherited, as inside an allocation of SLURM.

    Raises:
        UserError: it is indeed one of several that `srun` has started.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        raise UserError(
            f"srun has started this command {tasks} times. Call it once, without srun:\n"
            "trainer.devices=NUMBER starts the processes, and -m launcher=slurm gives the run to SLURM."
        )
    for name in os.environ.keys() - without_ranks(os.environ).keys():
        del os.environ[name]


def refuse_several_nodes(trainer: dict[str, Any]) -> None:
    """See to it that a run which is not given to SLURM keeps to this machine.

    Raises:
        UserError: it asks for more.
    """
    if trainer["num_nodes"] > 1:
        raise UserError(
            f"trainer.num_nodes={trainer['num_nodes']} needs SLURM, which starts the processes on the other machines.\n"
            "Add -m launcher=slurm, or leave trainer.num_nodes at 1."
        )


def refuse_too_many(trainer: dict[str, Any], count: int) -> None:
    """See to it that a slip of the finger, `count` devices, does not bring the machine to a stand.

    Raises:
        UserError: without a GPU each device is a process, and so many would only wait for each other.
    """
    most = max(PROCESSES_A_CORE * cores(), 16)
    if count <= most:
        return
    from lenet_lab.speed import on_cpu  # only now: it asks PyTorch for GPUs

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
    import_quickly("torch")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    from lenet_lab.environment import TOLD, command_line

    # The processes report their own errors; the launcher would add a page to each.
    for name in logging.root.manager.loggerDict:  # some of them have a level of their own
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    variables = without_ranks(os.environ) | {
        "OMP_NUM_THREADS": str(max(cores() // count, 1)),
        TOLD: command_line(),
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
    words = ("-m", "lenet_lab.processes", str(os.getpid()), module, config["folder"])
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


def let_threads_sleep() -> None:
    """Have OpenMP's threads wait for each other in a busy loop for a moment only, unless the user has said how long.

    Called before torch is imported. By default (GNU's OpenMP, as PyTorch brings it) they are busy for long, each
    waiting for a core that another program holds. A step of LeNet at batch 512 with 2 threads, on a 2-core Intel Xeon,
    takes 15 to 24 ms where nothing else runs; beside busy programs 67 to 244 ms, and 439 to 597 ms without this.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = TURNS_OF_A_WAIT


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
    from torch import distributed

    if distributed.is_available() and distributed.is_initialized() and distributed.get_backend() == "gloo":
        distributed.destroy_process_group()


def _why_left_alone(error: Exception) -> tuple[str, int] | None:
    """Say in a line what has become of the other devices, and the exit status, where `error` comes from that."""
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
    """Give the numbers of those processes of this run on this machine that somebody has stopped (SIGSTOP)."""
    import psutil

    found = []
    parent = psutil.Process().parent()
    for process in parent.children() if parent else []:
        with suppress(psutil.Error):
            if process.status() == psutil.STATUS_STOPPED:
                found.append(process.environ().get("RANK", "?"))
    return found


def main() -> None:
    """Be one of the processes: `python -m lenet_lab.processes PARENT MODULE RUN_FOLDER`."""
    from lenet_lab.explain import explain, naming, one_line  # only now: every command imports this file as it starts

    parent, module, folder = sys.argv[1:]
    die_with(int(parent))
    try:
        with naming(Path(folder)), ended_by_signals():
            importlib.import_module(module).run(read_config(Path(folder)))
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
