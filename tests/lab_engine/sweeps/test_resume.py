"""A sweep that is killed again and again ends as one that was left in peace."""

import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch

from lab_engine.sweeps.job import Attempt
from tests import forked
from tests.conftest import KILLS
from tests.lab_engine.sweeps.conftest import Sweep, run_sweep, sweep_command, wait_until

JOBS = (
    "data=digits",
    "data.batch_size=16",
    f"trainer.max_epochs={3 * KILLS}",  # more than all attempts together get done before they are killed
    "augment=shift",
    "scheduler=one_cycle",
    "optimizer.lr=0.02",
    "logger=none",
    "report=false",
    "seed=1,2",
    "launcher.slots=2",
)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]


def identity(file: Path) -> tuple[int, int]:
    """What would differ, had the file been written again."""
    facts = file.stat()
    return facts.st_ino, facts.st_mtime_ns


@pytest.mark.slow
@pytest.mark.timeout(150 * KILLS)
def test_kills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    chance = random.Random(os.environ.get("KILLS_SEED", 5))
    calm = run_sweep(tmp_path, *JOBS, "hydra.sweep.dir=calm")
    assert calm.status == 0, calm.out + calm.err

    words, environment, folder = sweep_command(tmp_path, *JOBS, "hydra.sweep.dir=killed")
    killed = Sweep(0, "", "", folder)
    finished: dict[Path, tuple[int, int]] = {}
    jobs_killed = 0
    for number in range(KILLS):
        process = forked.Popen(words, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True)
        if number % 5:
            wait_until(lambda process=process: at_work(killed) or process.poll() is not None)
            time.sleep(chance.uniform(0, 0.5))
        else:
            time.sleep(chance.uniform(0, 1.5))  # at any moment of its start
        if pids := at_work(killed):
            jobs_killed += 1
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(chance.choice(pids), signal.SIGKILL)
            time.sleep(chance.uniform(0, 0.5))
        process.kill()
        process.communicate()
        for file in folder.rglob("metrics.json"):
            assert finished.setdefault(file, identity(file)) == identity(file)
    assert jobs_killed >= KILLS // 2

    last = run_sweep(tmp_path, *JOBS, "hydra.sweep.dir=killed")
    assert last.status == 0, last.out + last.err
    assert set(last.states.values()) == {"done"}
    assert list(last.jobs) == list(calm.jobs)
    assert any(len(record.attempts) > 1 for record in last.jobs.values())
    for name in calm.jobs:
        assert last.metrics(name) == calm.metrics(name)
        assert (folder / name / "curves.csv").read_text() == (calm.folder / name / "curves.csv").read_text()
        expected = weights(calm.folder / name)
        assert all(torch.equal(tensor, expected[key]) for key, tensor in weights(folder / name).items())
    for file, known in finished.items():
        assert identity(file) == known


def at_work(sweep: Sweep) -> list[int]:
    """Processes that work on jobs. (A lock would not tell: the command takes it, too, to write a job down.)"""
    attempts = [record.attempts[-1] for record in sweep.jobs.values() if record.attempts]
    return [each.pid for each in attempts if each.ended is None and _is_that_process(each)]


def _is_that_process(attempt: Attempt) -> bool:
    """Whether it is alive; one that was killed long ago may have left its number to any other process."""
    try:
        return psutil.Process(attempt.pid).create_time() < attempt.started + 2  # the system tells whole seconds
    except psutil.NoSuchProcess:
        return False
