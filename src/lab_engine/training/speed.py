"""Replace `auto` in the settings of speed by the fastest known value for this machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

Config = dict[str, Any]

SHORT_FLOATS = {"amx_bf16"}
"""Flags of processors that compute faster in bfloat16 than in float32, as measured."""
BATCH_FOR_ONEDNN = 6
"""Samples per batch; below, PyTorch's own convolutions are faster on a CPU than oneDNN's."""
BATCH_FOR_CHANNELS_LAST = 8
"""Samples per batch; from here on channels_last is faster on a CPU, where oneDNN computes the convolutions."""
BATCH_FOR_SHORT_FLOATS = 64
"""Samples per batch; from here on a CPU uses bfloat16: below, conversions cost what the products gain."""
UNKNOWN_BATCH = BATCH_FOR_ONEDNN
"""Samples per batch, assumed for data without a `batch_size`: it chooses PyTorch's defaults on a CPU."""
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def resolve_auto(config: Config, recorded_precision: str | None = None) -> Config:
    """Return the configuration with each `auto` in `speed` and `trainer.precision` replaced.

    Args:
        config: of a training run, checked.
        recorded_precision: the precision that a resumed run started with; it is kept.
    """
    speed, trainer = dict(config["speed"]), dict(config["trainer"])
    on_gpu = trainer["accelerator"] in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    batch = config["data"].get("batch_size")
    batch = UNKNOWN_BATCH if batch is None else batch
    short = (on_gpu and torch.cuda.is_bf16_supported(including_emulation=False)) or (
        on_cpu(trainer) and batch >= BATCH_FOR_SHORT_FLOATS and bool(SHORT_FLOATS & processor_flags())
    )
    last = on_gpu or (on_cpu(trainer) and batch >= BATCH_FOR_CHANNELS_LAST)
    chosen = {
        "memory_format": "channels_last" if last else "contiguous",
        "onednn": not on_cpu(trainer) or batch >= BATCH_FOR_ONEDNN,
        "matmul_precision": "high" if on_gpu else "highest",
        "data_on_device": on_gpu,
    }
    speed |= {key: value for key, value in chosen.items() if speed[key] == "auto"}
    if trainer["precision"] == "auto":
        trainer["precision"] = recorded_precision or ("bf16-mixed" if short else "32-true")
    return {**config, "speed": speed, "trainer": trainer}


def on_cpu(trainer: Mapping[str, Any]) -> bool:
    """Return whether a Trainer with these settings computes on the CPU."""
    return trainer["accelerator"] == "cpu" or (trainer["accelerator"] == "auto" and not has_gpu())


def has_gpu() -> bool:
    """Return whether Lightning's `accelerator: auto` would choose a GPU (CUDA or MPS)."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def processor_flags() -> set[str]:
    """Return the flags of this processor from /proc/cpuinfo; empty on other systems than Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def speed_summary(speed: Mapping[str, Any]) -> str:
    """Return the resolved settings of `speed` that differ from PyTorch's defaults, in one line."""
    return ", ".join(
        [
            *([f"{speed['memory_format']}"] if speed["memory_format"] != "contiguous" else []),
            *([f"compiled ({speed['compile']})"] if speed["compile"] else []),
            *([f"float32 products {speed['matmul_precision']}"] if speed["matmul_precision"] != "highest" else []),
            *([] if speed["onednn"] else ["PyTorch's own convolutions"]),
            *(["data on the device"] if speed["data_on_device"] else []),
        ]
    )
