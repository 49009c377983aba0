"""Devices, cores and threads, and this process's place among those of a run."""

import os
from collections.abc import Mapping
from typing import Any

MINUTES_TO_WAIT = 10.0  # for another device: what one alone does meanwhile, such as pictures, takes seconds
VALUES_A_THREAD = 16 * 3 * 32 * 32  # of a batch; where a second thread began to gain on LeNet (2-core AMD EPYC)


def rank() -> int:
    """This process's number among those of the run, from 0; said by PyTorch's launcher or by SLURM."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def launched_by_slurm() -> bool:
    """Tell whether `srun` has started this process, perhaps as one of several."""
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

    With more, a step of LeNet at batch 4 is no faster, and slower as soon as another program wants the same cores: see
    `lenet_lab.processes.let_threads_sleep`.
    """
    return max(1, min(cores(), values // VALUES_A_THREAD))
