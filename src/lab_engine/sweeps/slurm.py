"""The SLURM launcher: each job is a batch job, submitted by `sbatch` and watched by `squeue`.

If the sweep's process is killed, its jobs continue. The same sweep, started again, finds them in the queue by their
comment, which is the run folder. A requeued job resumes from its last checkpoint.
"""

import logging
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from lab_engine.base.devices import without_ranks
from lab_engine.base.errors import UserError
from lab_engine.sweeps.executor import STOPPED
from lab_engine.sweeps.job import Job, Record, State, note_end, read_record, state_of, write_record

COMMAND_TIMEOUT = 120  # seconds for a command of SLURM, whose controller may be busy
SECONDS_TO_CANCEL = 90  # SLURM sends SIGTERM and, 30 s later by default, SIGKILL

# The tasks append to the log themselves: output that passes through srun is late and out of order.
SCRIPT = """\
#!/bin/sh
export OMP_NUM_THREADS={cpus}
exec srun --kill-on-bad-exit=1 --cpus-per-task={cpus} sh -c 'exec "$@" >>"$0" 2>&1' {log} {command}
"""  # since 22.05, srun does not take --cpus-per-task from its batch job

ENDINGS: dict[str, tuple[State, str]] = {
    "COMPLETED": ("failed", "left no result"),
    "FAILED": ("failed", "failed"),
    "TIMEOUT": ("timed out", "reached its time limit"),
    "DEADLINE": ("timed out", "reached its deadline"),
    "OUT_OF_MEMORY": ("out of memory", "used more memory than it was given"),
    "CANCELLED": ("killed", "was cancelled"),
    "NODE_FAIL": ("interrupted", "lost its node"),
    "BOOT_FAIL": ("interrupted", "got a node that did not start"),
    "PREEMPTED": ("interrupted", "had to give way to another"),
    "REVOKED": ("interrupted", "was taken over by another cluster"),
}
"""State and reason, by SLURM's state, of a job that has ended without a record of its own."""

NORMAL_REASONS = {"None", "Resources", "Priority", "BeginTime", "Dependency"}  # to be pending; they need no user


class Seen(NamedTuple):
    """A job as `squeue` shows it."""

    state: str
    reason: str
    comment: str


class Slurm:
    """Submits each job; see `conf/launcher/slurm.yaml` of this package for the arguments.

    Args:
        partition: to submit to; None: the cluster's default, as for the other arguments.
        account: to charge.
        qos: quality of service.
        timeout_minutes: after which SLURM ends a job.
        cpus_per_task: CPU cores of each process.
        memory_gb: memory on each node, 10^9 bytes.
        slots: how many jobs may be in the queue at once; None: all.
        options: other options of sbatch by their long names, which override the arguments above. True: an option
            without a value; False or None: not given.
        seconds_between_looks: between calls of squeue.

    Raises:
        UserError: SLURM's commands are not installed here.
    """

    def __init__(
        self,
        *,
        partition: str | None = None,
        account: str | None = None,
        qos: str | None = None,
        timeout_minutes: float | None = None,
        cpus_per_task: int = 1,
        memory_gb: float | None = None,
        slots: int | None = None,
        options: Mapping[str, Any] | None = None,
        seconds_between_looks: float = 5.0,
    ) -> None:
        if missing := [name for name in ("sbatch", "squeue", "scancel") if shutil.which(name) is None]:
            raise UserError(
                f"launcher=slurm needs the commands of SLURM, and there is no {' or '.join(missing)} here.\n"
                "Start the sweep where you would call sbatch, or with launcher=local."
            )
        self.slots = sys.maxsize if slots is None else slots
        self.options = {
            "partition": partition,
            "account": account,
            "qos": qos,
            "time": None if timeout_minutes is None else math.ceil(timeout_minutes),
            "cpus-per-task": cpus_per_task,
            "mem": None if memory_gb is None else f"{math.ceil(memory_gb * 1e9 / 2**20)}M",
            **{name.replace("_", "-"): value for name, value in (options or {}).items()},
        }
        self.seconds_between_looks = seconds_between_looks
        self._log = logging.getLogger(__name__)
        self._running: dict[int, Job] = {}  # by the number of the SLURM job
        self._submitting: Job | None = None
        self._refused: list[Job] = []  # to be submitted again
        self._dropped: list[Job] = []  # stopped before they were submitted
        self._stopped: dict[int, tuple[State, str]] = {}
        self._warned: set[str] = set()
        self._next_look = 0.0
        self._queued: dict[str, int] | None = None  # SLURM jobs of earlier processes of this user, by comment

    def expect(self, jobs: int, trainer: Mapping[str, Any] | None = None) -> None:
        """Leave it: SLURM shares its machines out."""

    def prepare(self, modules: Sequence[str]) -> None:
        """Leave it: each job imports on its own machine."""

    @property
    def places(self) -> int:
        """How many more jobs can start now."""
        return self.slots - len(self._running) - len(self._refused)

    def check(self, job: Job) -> None:
        """Refuse a job whose `trainer.devices` is not a number."""
        _request(job)

    def start(self, job: Job) -> None:
        """Submit a job, unless it is in the queue already.

        A job that SLURM refuses while others run is submitted again later: there may be a limit on pending jobs.

        Raises:
            UserError: SLURM refuses the job while no other job of this sweep runs.
        """
        if self._queued is None:
            self._queued = {
                seen.comment: number
                for number, seen in sorted(_squeue().items())
                if seen.state not in ENDINGS and seen.state != "COMPLETING"
            }
        number = self._queued.pop(str(job.folder), None)
        if number is None:
            self._submitting = job  # Ctrl-C may come after SLURM has accepted it and before its number is known
            try:
                number = self._submit(job)
            except UserError as error:
                if not self._running:
                    raise
                self._warn_once(str(error))
                self._refused.append(job)
                self._submitting = None
                return
        else:
            self._log.info(f"Job {job.number} is in SLURM's queue already, as SLURM job {number}.")
        self._running[number] = job
        self._submitting = None

    def _submit(self, job: Job) -> int:
        arguments = [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in {**_request(job), **self.options}.items()
            if value is not None and value is not False
        ]
        command = [sys.executable, "-m", "lab_engine.sweeps.worker", job.module, str(job.folder)]
        script = SCRIPT.format(
            cpus=self.options["cpus-per-task"] or 1, log=shlex.quote(str(job.log)), command=shlex.join(command)
        )
        try:
            answer = _call("sbatch", "--parsable", *arguments, script=script, environment=without_ranks(os.environ))
        except UserError as error:
            raise UserError(f"Job {job.number}: {error}\nOptions of sbatch: {' '.join(arguments)}") from error
        return int(answer.split(";")[0])  # "NUMBER" or "NUMBER;CLUSTER"

    def wait(self, seconds: float) -> list[Job]:
        """Return the jobs that have ended since the last call; wait up to `seconds` for the first."""
        deadline = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            if now >= self._next_look:
                self._next_look = now + self.seconds_between_looks
                if ended := self._look():
                    return ended
            if now >= deadline:
                return []
            time.sleep(max(min(deadline, self._next_look) - time.monotonic(), 0.01))

    def _look(self) -> list[Job]:
        try:
            queue = _squeue()
        except UserError as error:  # SLURM's controller may be back in a while, and the jobs continue
            self._warn_once(str(error))
            return []
        ended, self._dropped = self._dropped, []
        for number, job in list(self._running.items()):
            seen = queue.get(number, Seen("", "", ""))
            if seen.state == "PENDING" and seen.reason not in NORMAL_REASONS:
                self._warn_once(f"SLURM job {number} is pending: {seen.reason}")
            if seen.state in ENDINGS or number not in queue:
                stopped = self._stopped.pop(number, None)
                _record_end(job, number, *(stopped or ending(number, seen.state, job.log)))
                ended.append(self._running.pop(number))
        refused, self._refused = self._refused, []
        for job in refused:
            self.start(job)
        return ended

    def _warn_once(self, message: str) -> None:
        if message not in self._warned:
            self._warned.add(message)
            self._log.warning(message)

    def stop(self, job: Job, state: State, reason: str) -> None:
        """Stop a job and record its state, unless it has just ended by itself; `wait` will return it."""
        if any(refused is job for refused in self._refused):
            self._refused = [refused for refused in self._refused if refused is not job]
            self._dropped.append(job)
            note_end(job, state, reason)
            return
        number = next(number for number, running in self._running.items() if running is job)
        if number not in self._stopped and self._cancel(number):
            self._stopped[number] = state, reason

    def close(self) -> None:
        """Cancel all jobs in the queue, and wait until they have ended."""
        self._refused.clear()
        if self._submitting is not None:
            comment = str(self._submitting.folder)
            with suppress(UserError):
                found = {number: seen for number, seen in _squeue().items() if seen.comment == comment}
                alive = [number for number, seen in found.items() if seen.state not in ENDINGS]
                self._running |= dict.fromkeys(alive, self._submitting)
            self._submitting = None
        if not self._running:
            return
        count = len(self._running)
        self._log.warning(f"{count} SLURM {'job is' if count == 1 else 'jobs are'} cancelled.")
        if not self._cancel(*self._running):
            return
        self._stopped = dict.fromkeys(self._running, STOPPED) | self._stopped
        deadline = time.monotonic() + SECONDS_TO_CANCEL
        while self._running and time.monotonic() < deadline:
            self._look()
            time.sleep(min(self.seconds_between_looks, 1.0))

    def _cancel(self, *numbers: int) -> bool:
        """Return whether SLURM has accepted it."""
        try:
            _call("scancel", "--quiet", *map(str, numbers))
        except UserError as error:
            self._warn_once(str(error))
            return False
        return True


def _request(job: Job) -> dict[str, Any]:
    """Return a job's options of sbatch, by their long names; the launcher's settings override them."""
    trainer = job.config["trainer"]
    tasks = trainer["devices"]
    if not isinstance(tasks, int):
        raise UserError(
            f"trainer.devices={tasks} is refused with launcher=slurm: give a number; SLURM chooses the devices."
        )
    return {
        "job-name": f"{job.module.partition('.')[0]}-{job.number}",
        "comment": str(job.folder),
        "nodes": trainer["num_nodes"],
        "ntasks-per-node": tasks,
        "gpus-per-node": tasks if trainer["accelerator"] in ("gpu", "cuda") else None,
        "export": "ALL",
        "requeue": True,
        "open-mode": "append",
        "output": str(job.log).replace("%", "%%"),
    }


def ending(number: int, state: str, log: Path) -> tuple[State, str]:
    """Return state and reason of a job that has ended without a record of its own.

    Args:
        number: of the SLURM job.
        state: SLURM's name of its state; empty if SLURM no longer knows the job.
        log: of the job; the reason of a failed job quotes its last line.
    """
    if state not in ENDINGS:
        return "interrupted", f"SLURM job {number} has ended, and SLURM no longer knows how"
    meaning, text = ENDINGS[state]
    text = f"SLURM job {number} {text}"
    if meaning == "failed" and log.exists():
        lines = log.read_text(errors="replace").strip().splitlines()
        text += f": {lines[-1]}" if lines else ""
    return meaning, text


def _record_end(job: Job, number: int, state: State, reason: str) -> None:
    """Record the end of a job, unless it has recorded its own."""
    record = read_record(job.folder) or Record(job.number, list(job.overrides))
    if state_of(job.folder, record) == "done" or record.state in ("failed", "out of memory"):
        return
    record.slurm = number
    record.end(state, reason)
    write_record(job.folder, record)


def _squeue() -> dict[int, Seen]:
    """Return all jobs of this user that SLURM knows, by number, including those that ended in the last minutes."""
    lines = _call("squeue", "--me", "--noheader", "--states=all", "--format=%A|%T|%r|%k").splitlines()
    fields = (line.split("|", 3) for line in lines)
    # other jobs of this user may have comments of several lines
    return {int(each[0]): Seen(*each[1:]) for each in fields if len(each) == 4 and each[0].isdecimal()}


def _call(*command: str, script: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """Return the output of a command of SLURM.

    Raises:
        UserError: the command fails, or does not end in time.
    """
    try:
        done = subprocess.run(  # noqa: S603
            command, capture_output=True, text=True, timeout=COMMAND_TIMEOUT, input=script, env=environment
        )
    except subprocess.TimeoutExpired as error:
        raise UserError(f"{command[0]} does not answer within {COMMAND_TIMEOUT} s.") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
        raise UserError(lines[-1])  # "sbatch: error: …"
    return done.stdout
