"""A job of a sweep: a run folder, and `job.json` in it, which says what became of it."""

import json
import os
import shlex
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
"""What has become of a job. "interrupted": its sweep stopped, or its machine was taken away; it can be continued."""

ENDED: tuple[State, ...] = ("done", "pruned")
"""States that the same sweep, run again, leaves as they are."""


@dataclass(frozen=True)
class Job:
    """What is to run.

    Attributes:
        number: in its sweep, from 0.
        overrides: that make it this job, as on the command line.
        module: of the command, such as "my_lab.train".
        config: complete and checked, as `run` takes it; `config["folder"]` is the run folder.
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
        """Where all goes that it prints: the log of its command."""
        return self.folder / f"{self.module.rpartition('.')[2]}.log"


@dataclass
class Attempt:
    """One time that a job was worked on.

    Attributes:
        host: the machine.
        pid: the process there.
        started: Unix time, seconds.
        ended: so many seconds later as it took, whatever has been done to the clock meanwhile; None while it runs.
    """

    host: str
    pid: int
    started: float
    ended: float | None = None


@dataclass
class Record:
    """What `job.json` says.

    Attributes:
        number: of the job in its sweep.
        overrides: that make it this job.
        state: when this was written; `state_of` tells what it is now.
        reason: a line on how it failed; empty if it did not.
        attempts: in order of time.
        slurm: number of the SLURM job that works on it, if one does.
        settings: a fingerprint of its configuration; a job with another one is another job.
    """

    number: int
    overrides: list[str]
    state: State = "waiting"
    reason: str = ""
    attempts: list[Attempt] = field(default_factory=list)
    slurm: int | None = None
    settings: str = ""

    def __post_init__(self) -> None:
        self._began: float | None = None  # monotonic seconds; known to the process that has begun the last attempt

    def seconds(self, state: State) -> float | None:
        """Time of the attempts whose end is known, and of the last one until now if the job runs; None of none."""
        ends = [attempt.ended for attempt in self.attempts]
        if ends and ends[-1] is None and state == "running":
            ends[-1] = self._now()
        known = [end - attempt.started for attempt, end in zip(self.attempts, ends, strict=True) if end is not None]
        return sum(known) if known else None

    def begin(self, last_sign: float) -> None:
        """Record that this process works on it from now on; an attempt that was cut off ended at its last sign of life.

        Args:
            last_sign: Unix time, seconds.
        """
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = max(last_sign, self.attempts[-1].started)
        self.state, self.reason = "running", ""
        self.slurm = int(os.environ["SLURM_JOB_ID"]) if "SLURM_JOB_ID" in os.environ else None
        self.attempts.append(Attempt(socket.gethostname(), os.getpid(), time.time()))
        self._began = time.monotonic()

    def end(self, state: State, reason: str = "") -> None:
        """Record how that went."""
        self.state, self.reason = state, reason
        if self.attempts and self.attempts[-1].ended is None:
            self.attempts[-1].ended = self._now()

    def _now(self) -> float:
        """When it is by the clock that the last attempt started by: in another process, at least not before that."""
        started = self.attempts[-1].started
        if self._began is not None:
            return started + time.monotonic() - self._began
        return max(time.time(), started)


_record = TypeAdapter(Record)


def write_record(folder: Path, record: Record) -> None:
    """Write `job.json`, whole or not at all."""
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
            f"Move the folder {printable(folder.name)} out of its sweep; its job will begin anew."
        ) from error


def command_of(folder: Path, module: str) -> str:
    """Return the command that would do the job in a folder alone, or "" if there is no job in it."""
    record = read_record(folder)
    return "" if record is None else shlex.join(["python", "-m", module, *record.overrides])


def note_end(job: Job, state: State, reason: str) -> None:
    """Write down how a job has ended that cannot do so itself, or has not begun."""
    record = read_record(job.folder) or Record(job.number, list(job.overrides))
    record.end(state, reason)
    write_record(job.folder, record)


def read_metric(folder: Path, name: str) -> float | None:
    """Return a final metric of a job that is done; None if it has it not, or it is not finite."""
    value = json.loads((folder / "metrics.json").read_text()).get(name)
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
    """What a job's state is now, whatever the time since `record` was written has brought."""
    if (folder / "metrics.json").exists():
        return "done"
    here = bool(record.attempts) and record.attempts[-1].host == socket.gethostname()
    if record.state == "running" and here and not is_locked(folder):
        return "interrupted"
    return record.state


def state_now(folder: Path) -> State:
    """What the state of the job in `folder` is; "waiting" if nobody has begun to take notes."""
    record = read_record(folder)
    return state_of(folder, record) if record else "waiting"
