"""The local launcher: each job runs in a process of its own, forked from a server that has imported everything."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import psutil
from filelock import Timeout

from lab_engine.artifacts.run_folder import lock
from lab_engine.base.devices import cores, device_count, environment, refuse_several_nodes, without_ranks
from lab_engine.base.wording import counted
from lab_engine.sweeps.executor import STOPPED
from lab_engine.sweeps.job import Job, State, is_locked, read_record, write_record

WARM = ("lab_engine.sweeps.warm",)
SHARED_GPU = "CUDA_VISIBLE_DEVICES"
LOST = 255  # multiprocessing's exit status of a process whose fork server has died
SECONDS_TO_DIE = 10.0  # after SIGKILL
LOCK_TIMEOUT = 2.0  # seconds; another process may hold a lock for a moment to see whether it is free


@dataclass
class _Running:
    job: Job
    process: ForkServerProcess
    gpus: list[str]
    deadline: float
    ooms: int
    stopped: tuple[State, str] | None = None


class Local:
    """Runs jobs on this machine, as many at once as there are slots; each gets GPUs of its own, or its share of cores.

    Args:
        slots: jobs at once; None: as many as the GPUs allow, or without GPUs the cores and the memory.
        memory_gb: memory that a job needs without a GPU, 10^9 bytes; used if `slots` is None. None: no such limit.
        timeout_minutes: a job that takes longer is stopped; None: never.
    """

    def __init__(self, *, slots: int | None, memory_gb: float | None, timeout_minutes: float | None) -> None:
        self.timeout = float("inf") if timeout_minutes is None else 60 * timeout_minutes
        self.memory_gb = memory_gb
        self.slots = slots
        self.gpus: list[str] = []
        self._max_jobs = sys.maxsize
        self._largest: Mapping[str, Any] | None = None
        self._running: list[_Running] = []
        self._started = False
        self._context = multiprocessing.get_context("forkserver")

    def prepare(self, modules: Sequence[str]) -> None:
        """Start the fork server, which imports while the jobs are composed."""
        self._context.set_forkserver_preload([*WARM, *modules])
        with _environment_of_server():
            forkserver.ensure_running()

    def expect(self, jobs: int, trainer: Mapping[str, Any] | None = None) -> None:
        """Set the greatest number of jobs to share the machine among, and `trainer` of the one with most devices."""
        self._max_jobs, self._largest = jobs, trainer

    def check(self, job: Job) -> None:
        """Refuse a job on several machines."""
        refuse_several_nodes(job.config["trainer"])

    @property
    def places(self) -> int:
        """How many more jobs can start now."""
        return 1 if self.slots is None else self.slots - len(self._running)

    @property
    def threads(self) -> int:
        """CPU threads of each job: its share of the cores."""
        return max(cores() // min(self.slots or 1, self._max_jobs), 1)

    def start(self, job: Job) -> None:
        """Start the process of a job."""
        if not self._started:
            self._divide(self._largest or job.config["trainer"])
        gpus = self._choose_gpus(job)
        variables = without_ranks(os.environ) | {"OMP_NUM_THREADS": str(self.threads)}
        if gpus and not isinstance(job.config["trainer"]["devices"], list):  # a list numbers all GPUs of the machine
            variables[SHARED_GPU] = ",".join(gpus)
        process = self._spawn(_run_job, job.module, job.folder, job.log, variables)
        self._running.append(_Running(job, process, gpus, time.monotonic() + self.timeout, _kernel_ooms()))

    def wait(self, seconds: float) -> list[Job]:
        """Return the jobs that have ended, and stop those that have reached their timeout."""
        alive = [running.process.sentinel for running in self._running if not self._is_orphan(running)]
        orphans = len(alive) < len(self._running)
        wait(alive, 0.1 if orphans else seconds)
        ended = []
        for running in list(self._running):
            if running.process.exitcode is None or self._is_orphan(running):
                if time.monotonic() > running.deadline and not running.stopped:
                    self.stop(running.job, "timed out", f"it took longer than {counted(self.timeout / 60, 'minute')}")
                continue
            self._running.remove(running)
            _note_death(running)
            ended.append(running.job)
        return ended

    def stop(self, job: Job, state: State, reason: str) -> None:
        """Kill the processes of a job; that damages no file, for checkpoints and metrics are written atomically."""
        for running in self._running:
            if running.job is job and running.process.pid is not None:
                running.stopped = (state, reason)
                _kill(running.process.pid)

    def close(self) -> None:
        """Stop all running jobs."""
        for running in self._running:
            self.stop(running.job, *STOPPED)
        until = time.monotonic() + SECONDS_TO_DIE
        while self._running and time.monotonic() < until:
            self.wait(0.1)

    def _divide(self, trainer: Mapping[str, Any]) -> None:
        """Count the GPUs, and set how many jobs with this `trainer` run at once, if `slots` is None."""
        self._started = True
        receive, send = self._context.Pipe(duplex=False)
        process = self._spawn(_send_gpu_count, send)
        send.close()
        self.gpus = _visible(int(receive.recv()))
        process.join()
        if self.slots is None:
            gpus = len(self.gpus) if trainer["accelerator"] != "cpu" else 0
            slots: float = (gpus or cores()) // device_count(trainer, gpus)
            if gpus and isinstance(trainer["devices"], list):  # all jobs name the same ones
                slots = 1
            elif not gpus and self.memory_gb is not None:
                slots = min(slots, _memory() // (self.memory_gb * 1e9))
            self.slots = max(int(slots), 1)

    def _spawn(self, target: Any, *arguments: Any) -> ForkServerProcess:
        process = self._context.Process(target=target, args=arguments)
        with _environment_of_server():  # this starts a new server if it has died
            process.start()
        return process

    def _choose_gpus(self, job: Job) -> list[str]:
        """Return the GPUs that the job names (`trainer.devices=[0,2]`), or those with the fewest jobs."""
        trainer = job.config["trainer"]
        if not self.gpus or trainer["accelerator"] == "cpu":
            return []
        if isinstance(trainer["devices"], list):
            return [self.gpus[number] for number in trainer["devices"] if number < len(self.gpus)]
        load = {gpu: sum(gpu in running.gpus for running in self._running) for gpu in self.gpus}
        count = device_count(trainer, len(self.gpus))
        return sorted(self.gpus, key=lambda gpu: load[gpu])[:count]

    @staticmethod
    def _is_orphan(running: _Running) -> bool:
        """Return whether a job still runs, as its lock tells, although its fork server has died."""
        return running.process.exitcode == LOST and is_locked(running.job.folder)


def _environment_of_server() -> AbstractContextManager[None]:
    """Keep variables of a distributed run away from the fork server, whose environment the jobs inherit."""
    # counts GPUs without initializing CUDA
    return environment(without_ranks(os.environ) | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"})


def _visible(count: int) -> list[str]:
    chosen = [gpu for gpu in os.environ.get(SHARED_GPU, "").split(",") if gpu]
    return chosen[:count] if chosen else [str(number) for number in range(count)]


def _memory() -> float:
    """Return the free memory in bytes, on the machine or in this control group if that is less."""
    free = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # no control group, or one without a limit
        free = min(free, float((group / "memory.max").read_text()) - float((group / "memory.current").read_text()))
    return free


def _kernel_ooms() -> int:
    """Return how many processes the kernel has killed because memory ran out, since this machine started."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))


def _note_death(running: _Running) -> None:
    """Record the end of a job whose process could not do so itself."""
    folder = running.job.folder
    try:
        with lock(folder).acquire(timeout=LOCK_TIMEOUT):
            record = read_record(folder)
            if record is None or record.state not in ("running", "waiting") or (folder / "metrics.json").exists():
                return
            status = running.process.exitcode or 0
            if running.stopped:
                state, reason = running.stopped
            elif status == -signal.SIGKILL and _kernel_ooms() > running.ooms:
                state, reason = "out of memory", "the kernel killed it because memory ran out"
            elif status < 0:
                state, reason = "killed", f"it was killed by {_signal_name(-status)}"
            else:
                state, reason = "failed", f"its process ended with status {status}"
            record.end(state, reason)
            write_record(folder, record)
    except Timeout:  # another sweep works on it
        pass


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals have no name
        return f"signal {number}"


def _kill(group: int) -> None:
    workers: list[psutil.Process] = []  # with several devices, PyTorch's launcher starts each in a group of its own
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(group).children(recursive=True)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:  # the process has not made its group yet, or has ended
        with suppress(ProcessLookupError):
            os.kill(group, signal.SIGKILL)


def _send_gpu_count(pipe: Any) -> None:
    import torch

    with suppress(BrokenPipeError):  # the sweep has been stopped meanwhile
        pipe.send(torch.cuda.device_count())


def _run_job(module: str, folder: Path, log: Path, variables: dict[str, str]) -> None:
    """Run a job in its forked process."""
    os.setsid()
    _die_with_controller()
    os.environ.clear()
    os.environ.update(variables)
    _prefer_to_be_killed()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from lab_engine.sweeps.worker import work

    status = work(module, folder)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # the exit handlers of torch and Lightning are slow, and nothing needs them


def _die_with_controller() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _prefer_to_be_killed() -> None:
    """Make Linux kill this job, and not the controller, when memory runs out."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
