"""Jobs that cost no time, for tests of what is above them.

    python -m tests.lab_engine.sweeps.quick SECONDS SWEEP_FOLDER SETTINGS WORD…

Files, states and locks are as those of real jobs; only the training is made up.
"""

import csv
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from lab_engine.artifacts.curves import read_curves
from lab_engine.artifacts.run_folder import lock
from lab_engine.base.errors import UserError
from lab_engine.sweeps.executor import run
from lab_engine.sweeps.job import ENDED, Job, Record, State, read_record, state_of, write_record
from lab_engine.sweeps.search import SearchPlan

EPOCHS = 4

SETTINGS: dict[str, Any] = {
    "trials": 6,
    "metric": "val/accuracy",
    "direction": "maximize",
    "seeds": None,
    "sampler": {"_target_": "optuna.samplers.RandomSampler", "seed": 0},
    "pruner": None,
    "storage": None,
    "study": None,
}


def accuracy(values: dict[str, Any], epoch: int) -> float:
    """Best at x = 0.7, better with each epoch and with a higher seed."""
    return (1 - (float(values.get("x", 0.7)) - 0.7) ** 2) * epoch / EPOCHS / 2 + values.get("seed", 0) / 100


def read(words: Sequence[str]) -> dict[str, Any]:
    return OmegaConf.to_container(OmegaConf.from_dotlist([word.lstrip("+") for word in words]))


def job_maker(folder: Path) -> Callable[[Sequence[str], str, int], Job]:
    """See `lab_engine.sweeps.search.MakeJob`; x above 1 is refused."""

    def make_job(words: Sequence[str], name: str, number: int) -> Job:
        values = read(words)
        if float(values.get("x", 0)) > 1:
            raise UserError(f"x={values['x']} is refused: give a number up to 1")
        job = Job(number, tuple(words), "none", {"folder": str(folder / name), **values})
        job.folder.mkdir(parents=True, exist_ok=True)
        record = read_record(job.folder) or Record(number, list(words))
        assert record.overrides == list(words)
        if state_of(job.folder, record) not in ENDED:
            record.state = "waiting"
            write_record(job.folder, record)
        return job

    return make_job


class Quick:
    """An executor in this process: each wait brings each job one epoch further.

    `kind` in a job's overrides may be fail, nan or kill, which ends this process in its second epoch.
    """

    def __init__(self, slots: int, seconds: float = 0.0) -> None:
        self.slots = slots
        self.seconds = seconds
        self.most = 0
        self.running: list[tuple[Job, Any]] = []
        self.stopped: list[Job] = []

    def expect(self, jobs: int) -> None: ...

    def prepare(self, modules: object) -> None: ...

    @property
    def places(self) -> int:
        return self.slots - len(self.running)

    def start(self, job: Job) -> None:
        held = lock(job.folder)
        held.acquire(timeout=0)  # whoever runs a job twice at a time fails here
        record = read_record(job.folder)
        assert record is not None
        assert record.state == "waiting"
        record.begin(time.time())
        write_record(job.folder, record)
        file = job.folder / "curves.csv"
        if not file.exists():
            file.write_text("epoch,step,train/loss,val/loss,val/accuracy" + "\n")
        self.running.append((job, held))
        self.most = max(self.most, len(self.running))

    def wait(self, seconds: float) -> list[Job]:
        time.sleep(self.seconds)
        ended, self.stopped = self.stopped, []
        for job, held in list(self.running):
            values = job.config
            rows = read_curves(job.folder / "curves.csv")
            epoch = len(rows) + 1
            kind = values.get("kind")
            if kind == "fail" and epoch == 3:
                self._end(job, held, "failed", "ValueError: on purpose")
                ended.append(job)
                continue
            if kind == "kill" and epoch == 3 and len(read_record(job.folder).attempts) == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if epoch <= EPOCHS:
                value = math.nan if kind == "nan" else accuracy(values, epoch)
                with (job.folder / "curves.csv").open("a", newline="") as stream:
                    csv.writer(stream).writerow([epoch, 10 * epoch, "", 1 - value, value])
            else:
                value = None if kind == "nan" else accuracy(values, EPOCHS)
                unfinished = job.folder / ".metrics.json"
                unfinished.write_text(json.dumps({"val/accuracy": value, "val/loss": 0.5}))
                (job.folder / "metrics.json").hardlink_to(unfinished)  # fails for a job that is done already
                self._end(job, held, "done", "")
                ended.append(job)
        return ended

    def stop(self, job: Job, state: State, reason: str) -> None:
        for known, held in list(self.running):
            if known is job:
                self._end(job, held, state, reason)
                self.stopped.append(job)

    def close(self, state: State = "interrupted", reason: str = "") -> None: ...

    def _end(self, job: Job, held: Any, state: State, reason: str) -> None:
        record = read_record(job.folder)
        record.end(state, reason)
        write_record(job.folder, record)
        with (job.folder / "ends").open("a") as stream:
            stream.write(f"{state} {os.getpid()}\n")
        held.release()
        self.running = [(other, its) for other, its in self.running if other is not job]


def search(folder: Path, settings: dict[str, Any], words: Sequence[str], slots: int = 2, seconds: float = 0.0) -> Quick:
    folder.mkdir(exist_ok=True)
    executor = Quick(slots, seconds)
    run(SearchPlan({**SETTINGS, **settings}, words, folder, job_maker(folder)), executor)
    return executor


if __name__ == "__main__":
    search(Path(sys.argv[2]), json.loads(sys.argv[3]), sys.argv[4:], seconds=float(sys.argv[1]))
