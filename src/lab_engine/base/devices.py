"""Devices, cores and threads, and this process's place among those of a run."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lab_engine.base.errors import UserError

MINUTES_TO_WAIT = 10.0  # for another device: what one alone does meanwhile, such as pictures, takes seconds
VALUES_A_THREAD = 16 * 3 * 32 * 32  # of a batch; where a second thread began to gain (docs/speed.md)
TURNS_OF_A_WAIT = "10000"  # of a busy loop: about what lies between two operations of a network
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


def rank() -> int:
    """This process's number among those of the run, from 0; said by PyTorch's launcher or by SLURM."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def launched_by_slurm() -> bool:
    """Return whether `srun` has started this process, perhaps as one of several."""
    return os.environ.get("SLURM_STEP_ID", "").isdecimal() and "SLURM_PROCID" in os.environ


def device_count(trainer: Mapping[str, Any], gpus: int | None = None) -> int:
    """How many processes `trainer.devices` asks for.

    Args:
        trainer: of the configuration.
        gpus: how many there are; None: torch is asked, if that makes a difference.
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
    """How many cores this process is to use: those that it may, or fewer where OMP_NUM_THREADS says so."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wanted = os.environ.get("OMP_NUM_THREADS", "")
    return min(allowed, int(wanted)) if wanted.isdecimal() and int(wanted) else allowed


def threads_for(values: int) -> int:
    """As many threads as a batch of so many values can keep busy.

    With more, a step of a small batch is no faster, and slower as soon as another program wants the same cores: see
    `let_threads_sleep`.
    """
    return max(1, min(cores(), values // VALUES_A_THREAD))


def without_ranks(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables of `environment` less `FOREIGN`."""
    return {name: value for name, value in environment.items() if name in NO_PLACE or not name.startswith(FOREIGN)}


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set these variables and no others, for processes that are started meanwhile."""
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


def let_threads_sleep() -> None:
    """Make OpenMP's threads wait for each other in a busy loop for a moment only, unless the user has said how long.

    Called before torch is imported. By default (GNU's OpenMP, as PyTorch brings it) they are busy for long, each
    waiting for a core that another program holds, which makes a step many times slower (docs/speed.md).
    """
    if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = TURNS_OF_A_WAIT


def refuse_several_nodes(trainer: dict[str, Any]) -> None:
    """Refuse several machines for a run that is not given to SLURM.

    Raises:
        UserError: it asks for more.
    """
    if trainer["num_nodes"] > 1:
        raise UserError(
            f"trainer.num_nodes={trainer['num_nodes']} needs SLURM, which starts the processes on the other machines.\n"
            "Add -m launcher=slurm, or leave trainer.num_nodes at 1."
        )
