"""Jobs on this machine: each in a process of its own, forked from one that has imported everything already."""

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
from lab_engine.sweeps.executor import STOPPED
from lab_engine.sweeps.job import Job, State, is_locked, read_record, write_record

WARM = ("lab_engine.sweeps.warm",)
SHARED_GPU = "CUDA_VISIBLE_DEVICES"
LOST = 255  # how multiprocessing says that it cannot know an exit status: the server is gone
SECONDS_TO_DIE = 10.0  # after SIGKILL
SECONDS_TO_LOOK = 2.0  # for somebody who tries a lock to see whether it is free


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
        slots: jobs at once; None: as many as the GPUs serve, or without GPUs as the cores and the memory do.
        memory_gb: memory that a job needs without a GPU, 10^9 bytes; limits the slots where they are not given. None:
            does not.
        timeout_minutes: a job that takes longer is stopped; None: never.
    """

    def __init__(self, *, slots: int | None, memory_gb: float | None, timeout_minutes: float | None) -> None:
        self.timeout = float("inf") if timeout_minutes is None else 60 * timeout_minutes
        self.memory_gb = memory_gb
        self.slots = slots
        self.gpus: list[str] = []
        self._most = sys.maxsize
        self._largest: Mapping[str, Any] | None = None
        self._running: list[_Running] = []
        self._started = False
        self._context = multiprocessing.get_context("forkserver")

    def prepare(self, modules: Sequence[str]) -> None:
        """Start the process that jobs are forked from; it imports while they are composed."""
        self._context.set_forkserver_preload([*WARM, *modules])
        with _environment_of_server():
            forkserver.ensure_running()

    def expect(self, jobs: int, trainer: Mapping[str, Any] | None = None) -> None:
        """Share the machine among so many at most, none of which has more devices than `trainer` says."""
        self._most, self._largest = jobs, trainer

    def check(self, job: Job) -> None:
        """Refuse a job that needs other machines too."""
        refuse_several_nodes(job.config["trainer"])

    @property
    def places(self) -> int:
        """How many more jobs can start now."""
        return 1 if self.slots is None else self.slots - len(self._running)

    @property
    def threads(self) -> int:
        """A job's share of the cores."""
        return max(cores() // min(self.slots or 1, self._most), 1)

    def start(self, job: Job) -> None:
        """Start its process."""
        if not self._started:
            self._divide(self._largest or job.config["trainer"])
        gpus = self._choose_gpus(job)
        variables = without_ranks(os.environ) | {"OMP_NUM_THREADS": str(self.threads)}
        if gpus and not isinstance(job.config["trainer"]["devices"], list):  # else it counts from all
            variables[SHARED_GPU] = ",".join(gpus)
        process = self._spawn(_be_job, job.module, job.folder, job.log, variables)
        self._running.append(_Running(job, process, gpus, time.monotonic() + self.timeout, _kernel_ooms()))

    def wait(self, seconds: float) -> list[Job]:
        """Return those that have ended, and stop those whose time is over."""
        alive = [running.process.sentinel for running in self._running if not self._is_orphan(running)]
        orphans = len(alive) < len(self._running)
        wait(alive, 0.1 if orphans else seconds)
        ended = []
        for running in list(self._running):
            if running.process.exitcode is None or self._is_orphan(running):
                if time.monotonic() > running.deadline and not running.stopped:
                    minutes = self.timeout / 60
                    self.stop(running.job, "timed out", f"it took longer than {minutes:g} minutes")
                continue
            self._running.remove(running)
            _note_death(running)
            ended.append(running.job)
        return ended

    def stop(self, job: Job, state: State, reason: str) -> None:
        """Kill its processes; checkpoints and metrics are written whole or not at all, so nothing is half done."""
        for running in self._running:
            if running.job is job and running.process.pid is not None:
                running.stopped = (state, reason)
                _kill(running.process.pid)

    def close(self) -> None:
        """Stop all that still runs."""
        for running in self._running:
            self.stop(running.job, *STOPPED)
        until = time.monotonic() + SECONDS_TO_DIE
        while self._running and time.monotonic() < until:
            self.wait(0.1)

    def _divide(self, trainer: Mapping[str, Any]) -> None:
        """Compute how many jobs like this one the machine serves."""
        self._started = True
        receive, send = self._context.Pipe(duplex=False)
        process = self._spawn(_tell_gpus, send)
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
        with _environment_of_server():  # should it have died, it is started anew
            process.start()
        return process

    def _choose_gpus(self, job: Job) -> list[str]:
        """Those that the job names (`trainer.devices=[0,2]`), or those with the least to do."""
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
        """Whether the job lives on though the server that forked it has died; its lock tells."""
        return running.process.exitcode == LOST and is_locked(running.job.folder)


def _environment_of_server() -> AbstractContextManager[None]:
    """Keep what would mislead jobs from the server, which hands its variables down."""
    # to count GPUs, CUDA need not start
    return environment(without_ranks(os.environ) | {"PYTORCH_NVML_BASED_CUDA_CHECK": "1"})


def _visible(count: int) -> list[str]:
    chosen = [gpu for gpu in os.environ.get(SHARED_GPU, "").split(",") if gpu]
    return chosen[:count] if chosen else [str(number) for number in range(count)]


def _memory() -> float:
    """Bytes that are free, on the machine and in this control group."""
    free = float(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup")
    with suppress(OSError, ValueError):  # there is none, or it sets no limit
        free = min(free, float((group / "memory.max").read_text()) - float((group / "memory.current").read_text()))
    return free


def _kernel_ooms() -> int:
    """How often this machine's kernel has killed a process for want of memory."""
    try:
        counters = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return 0
    return int(counters.get("oom_kill", 0))


def _note_death(running: _Running) -> None:
    """Write down how a process ended that could not do so itself."""
    folder = running.job.folder
    try:
        with lock(folder).acquire(timeout=SECONDS_TO_LOOK):
            record = read_record(folder)
            if record is None or record.state not in ("running", "waiting") or (folder / "metrics.json").exists():
                return
            status = running.process.exitcode or 0
            if running.stopped:
                state, reason = running.stopped
            elif status == -signal.SIGKILL and _kernel_ooms() > running.ooms:
                state, reason = "out of memory", "the kernel killed it for want of memory"
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
    except ValueError:  # those for real time have none
        return f"signal {number}"


def _kill(group: int) -> None:
    workers: list[psutil.Process] = []  # of several devices: PyTorch's launcher puts each into a group of its own
    with suppress(psutil.NoSuchProcess):
        workers = psutil.Process(group).children(recursive=True)
    for worker in workers:
        with suppress(psutil.NoSuchProcess):
            worker.kill()
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:  # it has not made its group yet, or has ended
        with suppress(ProcessLookupError):
            os.kill(group, signal.SIGKILL)


def _tell_gpus(answer: Any) -> None:
    import torch

    with suppress(BrokenPipeError):  # the sweep has been stopped meanwhile
        answer.send(torch.cuda.device_count())


def _be_job(module: str, folder: Path, log: Path, variables: dict[str, str]) -> None:
    """Run as the process of a job, from the moment it is forked."""
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
    os._exit(status)  # nothing is left to do; torch and Lightning would take their time


def _die_with_controller() -> None:
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            wait([parent.sentinel])
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def _prefer_to_be_killed() -> None:
    """Where memory runs out, Linux is to take a job rather than the sweep that watches over it."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500")
