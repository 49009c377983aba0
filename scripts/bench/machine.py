"""What the benchmarks ran on: processor, memory, load, versions, state of the code."""

import os
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PEERS = (
    *("torchmetrics", "numpy", "pillow", "onnxruntime", "hydra-joblib-launcher", "datasets", "ffcv"),
    "nvidia-dali-cuda120",
)
"""Packages beside those that each run notes; those that are not installed are left out."""
MATRIX_FLAGS = {"amx_tile": "AMX", "avx512_bf16": "bfloat16"}  # of /proc/cpuinfo, and what is said of them


def describe() -> dict[str, Any]:
    """Give what a reader needs to judge the figures; GPUs are asked for their names, which starts CUDA."""
    import torch

    from lenet_lab.environment import gather

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = gather(Path(), "train", device)
    return {
        "cpu": found.cpu,
        "vectors": ", ".join([torch.backends.cpu.get_cpu_capability(), *_flags()]),
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


def _flags() -> list[str]:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:  # not Linux
        return []
    line = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    flags = set(line[1].split()) if line else set()
    return [said for flag, said in MATRIX_FLAGS.items() if flag in flags]


def _peers() -> dict[str, str]:
    found = {}
    for package in PEERS:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
