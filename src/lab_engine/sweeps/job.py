"""A job of a sweep: a run folder with `job.json` in it, which holds the job's state and attempts."""

import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout
from pydantic import TypeAdapter, ValidationError

from lab_engine.artifacts.run_folder import LOCK, lock
from lab_engine.base.atomic_write import atomic_write
from lab_engine.base.errors import UserError
from lab_engine.base.program import command_for
from lab_engine.base.wording import printable, shown

State = Literal[
    "waiting",
    "running",
    "done",
    "failed",
    "out of memory",
    "killed",
    "timed out",
    "pruned",
    "interrupted",
]
"""State of a job. "interrupted": its sweep was stopped, or SLURM took its machine away; it can be resumed."""

ENDED: tuple[State, ...] = ("done", "pruned")
"""States of jobs that the same sweep does not run again."""


@dataclass(frozen=True)
class Job:
    """A job to run.

    Attributes:
        number: in its sweep, from 0.
        overrides: of this job, as on the command line.
        module: of the command, such as "my_lab.train".
        config: complete and checked; `config["folder"]` is the run folder.
    """

    number: int
    overrides: tuple[str, ...]
    module: str
    config: dict[str, Any] = field(repr=False)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self.config["folder"])

    @property
    def log(self) -> Path:
        """The log of its command, which receives the job's output."""
        return self.folder / f"{self.module.rpartition('.')[2]}.log"


@dataclass
class Attempt:
    """One attempt to run a job.

    Attributes:
        host: the machine.
        pid: of the process there.
        started: Unix time, seconds.
        ended: `started` plus the duration, so changes of the system's clock do not count; None while it runs.
    """

    host: str
    pid: int
    started: float
    ended: float | None = None


@dataclass
class Record:
    """Content of `job.json`.

    Attributes:
        number: of the job in its sweep.
        overrides: of this job, as on the command line.
        state: at the time of writing; `state_of` returns the current one.
        reason: one line, why it failed, was stopped or was pruned; else empty.
        attempts: in order of time.
        slurm: number of its SLURM job; None without SLURM.
        settings: fingerprint of its configuration; two jobs with different ones are different jobs.
    """

    number: int
    overrides: list[str]
    state: State = "waiting"
    reason: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    slurm: int | None = None
    settings: str = ""

    def __post_init__(self) -> None:
        self._began: float | None = None  # monotonic seconds; only in the process of the last attempt

    def seconds(self, state: State) -> float | None:
        """Return the duration of all attempts whose end is known; that of a running job ends now. None: no such one."""
        ends = [attempt.ended for attempt in self.attempts]
        if ends and ends[-1] is None and state == "running":
            ends[-1] = self._now()
        known = [end - attempt.started for attempt, end in zip(self.attempts, ends, strict=True) if end is not None]
        return sum(known) if known else None

    def begin(self, last_sign: float) -> None:
        """Record the start of an attempt in this process.

        Args:
            last_sign: end of the attempt before, if it was killed and so has none: Unix time, seconds.
        """
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = max(last_sign, self.attempts[-1].started)
        self.state, self.reason = "running", ""
        self.slurm = int(os.environ["SLURM_JOB_ID"]) if "SLURM_JOB_ID" in os.environ else None
        self.attempts.append(Attempt(socket.gethostname(), os.getpid(), time.time()))
        self._began = time.monotonic()

    def end(self, state: State, reason: str = "") -> None:
        """Record the end of the last attempt."""
        self.state, self.reason = state, reason
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = self._now()

    def _now(self) -> float:
        """Return the Unix time, not before the attempt's start; in its own process, clock changes do not count."""
        started = self.attempts[-1].started
        if self._began is not None:
            return started + time.monotonic() - self._began
        return max(time.time(), started)


_record = TypeAdapter(Record)


def write_record(folder: Path, record: Record) -> None:
    """Write `job.json` atomically."""
    atomic_write(folder / "job.json", json.dumps(asdict(record), indent=1) + "\n")


def read_record(folder: Path) -> Record | None:
    """Read `job.json`; None where there is none.

    Raises:
        UserError: it is damaged.
    """
    file = folder / "job.json"
    try:
        return _record.validate_json(file.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise UserError(
            f"{printable(str(file))} is damaged: {shown(error.errors()[0]['msg'])}\n"
            f"Move the folder {printable(folder.name)} out of its sweep; its job will start again."
        ) from error


def command_of(folder: Path, module: str, config_dir: str | None = None) -> str:
    """Return the command that runs the job in a folder as a single run; "" if the folder holds no job."""
    record = read_record(folder)
    return "" if record is None else command_for(module, record.overrides, config_dir, recorded=True)


def note_end(job: Job, state: State, reason: str) -> None:
    """Record the end of a job that cannot do so itself, or that has not started."""
    record = read_record(job.folder) or Record(job.number, list(job.overrides))
    record.end(state, reason)
    write_record(job.folder, record)


def read_metric(folder: Path, name: str) -> float | None:
    """Return a final metric of a job that is done; None if it is missing or not finite.

    Raises:
        FileNotFoundError: the job is not done.
    """
    value = json.loads((folder / "metrics.json").read_text(encoding="utf-8")).get(name)
    return None if value is None else float(value)


def is_locked(folder: Path) -> bool:
    """Return whether a process of this machine works on the job in `folder`."""
    if not (folder / LOCK).exists():
        return False
    try:
        with lock(folder).acquire(blocking=False):
            return False
    except Timeout:
        return True


def state_of(folder: Path, record: Record) -> State:
    """Return a job's current state, which may have changed since `record` was written."""
    if (folder / "metrics.json").exists():
        return "done"
    here = bool(record.attempts) and record.attempts[-1].host == socket.gethostname()
    if record.state == "running" and here and not is_locked(folder):
        return "interrupted"
    return record.state


def state_now(folder: Path) -> State:
    """Return the current state of the job in `folder`; "waiting" if it has no `job.json`."""
    record = read_record(folder)
    return state_of(folder, record) if record else "waiting"
