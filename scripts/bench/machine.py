"""The machine of the benchmarks: processor, memory, load, versions, state of the code."""

import os
from importlib.metadata import PackageNotFoundError, version
from typing import Any

PEERS = ("torchmetrics", "numpy", "pillow", "onnxruntime", "hydra-joblib-launcher")
"""Packages beside those that each run records; those that are not installed are left out."""
MATRIX_FLAGS = {"amx_tile": "AMX", "avx512_bf16": "bfloat16"}  # of /proc/cpuinfo, and their names in the table


def describe() -> dict[str, Any]:
    """Return the facts that the figures depend on; starts CUDA to read the names of GPUs."""
    import torch

    from lab_engine.artifacts.this_environment import gather
    from lab_engine.training.speed import processor_flags

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = gather("lenet_lab", device)
    flags = processor_flags()
    matrix = [said for flag, said in MATRIX_FLAGS.items() if flag in flags]
    return {
        "cpu": found.cpu,
        "vectors": ", ".join([torch.backends.cpu.get_cpu_capability(), *matrix]),
        "cores": found.cores,
        "memory_gb": found.memory_gb,
        "gpus": found.gpus,
        "system": found.system,
        "load_average_before": os.getloadavg()[0],
        "versions": found.versions | _peers(),
        "commit": found.git.commit,
        "dirty": found.git.dirty,
        "started": found.started.isoformat(),
    }


def _peers() -> dict[str, str]:
    found = {}
    for package in PEERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
