"""Devices, cores and threads, and this process's rank among those of a run."""

import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lab_engine.base.errors import UserError

MINUTES_TO_WAIT = 10.0  # for the other processes: what one does alone, such as drawing pictures, takes seconds
VALUES_PER_THREAD = 16 * 3 * 32 * 32  # of a batch; with fewer, one thread more costs more time than it saves
SPIN_COUNT = "10000"  # turns of OpenMP's busy loop: about the pause between two operations of a network
LAUNCH_VARIABLES = (
    *("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK", "ROLE_RANK"),
    *("WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_WORLD_SIZE"),
    *("MASTER_ADDR", "MASTER_PORT", "TORCHELASTIC_", "PMI_", "PMIX_", "OMPI_", "SLURM_", "SLURMD_", "JSM_", "LSB_"),
)
"""Beginnings of the variables that tell a process its rank; inherited from another launch, they would mislead it."""
SLURM_ACCESS = ("SLURM_CONF", "SLURM_JWT")  # these tell how to reach SLURM


def rank() -> int:
    """Return this process's rank in the run, from 0, as PyTorch's launcher or SLURM has set it."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def launched_by_slurm() -> bool:
    """Return whether `srun` has started this process, perhaps as one of several."""
    return os.environ.get("SLURM_STEP_ID", "").isdecimal() and "SLURM_PROCID" in os.environ


def device_count(trainer: Mapping[str, Any], gpus: int | None = None) -> int:
    """Return how many processes `trainer.devices` asks for.

    Args:
        trainer: that group of the configuration.
        gpus: number of GPUs; None: torch is asked, if that makes a difference.
    """
    devices = trainer["devices"]
    if isinstance(devices, list):
        return len(devices)
    if devices != "auto":
        return int(devices)
    if trainer["accelerator"] not in ("auto", "gpu", "cuda"):
        return 1
    if gpus is None:
        import torch

        gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return max(gpus, 1)


def cores() -> int:
    """Return how many CPU cores to use: those that this process may, or OMP_NUM_THREADS if that is fewer."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(wanted)) if wanted.isdecimal() and int(wanted) else allowed


def threads_for(values: int) -> int:
    """Return how many threads a batch with this number of values can keep busy.

    More threads do not make a step of a small batch faster; they make it slower when another program uses the same
    cores, see `limit_busy_waiting`.
    """
    return max(1, min(cores(), values // VALUES_PER_THREAD))


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environment` without `LAUNCH_VARIABLES`."""
    return {
        name: value
        for name, value in environment.items()
        if name in SLURM_ACCESS or not name.startswith(LAUNCH_VARIABLES)
    }


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Replace all environment variables by these, for processes that are started inside the block."""
    kept = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def drop_launch_variables() -> None:
    """Remove the inherited `LAUNCH_VARIABLES`, such as those of a SLURM allocation, from the environment.

    Raises:
        UserError: `srun` has started this process as one of several.
    """
    tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks > 1:
        raise UserError(
            f"srun has started this command {tasks} times. Call it once, without srun:\n"
            "trainer.devices=NUMBER starts the processes, and -m launcher=slurm gives the run to SLURM."
        )
    for name in os.environ.keys() - without_ranks(os.environ).keys():
        del os.environ[name]


def limit_busy_waiting() -> None:
    """Limit how long OpenMP's threads wait for each other in a busy loop, unless the user has set it.

    Call it before torch is imported. By default the threads of GNU's OpenMP, which PyTorch brings, keep their cores
    busy for long while they wait. When other programs use the same cores, a step becomes many times slower.
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT


def fork_workers() -> None:
    """Make the workers of a DataLoader be forked from this process, on Linux; for processes of a command only.

    In the jobs of a sweep, and from Python 3.14 on everywhere, each would else import torch again, and outlive a run
    that is killed.
    """
    if sys.platform == "linux":
        multiprocessing.set_start_method("fork", force=True)


def refuse_several_nodes(trainer: dict[str, Any]) -> None:
    """Refuse several machines for a run that SLURM does not start.

    Raises:
        UserError: trainer.num_nodes is more than 1.
    """
    if trainer["num_nodes"] > 1:
        raise UserError(
            f"trainer.num_nodes={trainer['num_nodes']} needs SLURM, which starts the processes on the other machines.\n"
            "Add -m launcher=slurm, or leave trainer.num_nodes at 1."
        )
