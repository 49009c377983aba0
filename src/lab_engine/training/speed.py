"""How fast a run is to be on the machine at hand: `auto` becomes what was measured to be fastest there."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

Config = dict[str, Any]

SHORT_FLOATS = {"amx_bf16"}
"""Flags of processors that were seen to compute faster in bfloat16 than in float32; docs/speed.md has the figures."""
BATCH_FOR_ONEDNN = 6
"""Samples; below, PyTorch's own convolutions are faster on a CPU than oneDNN's (docs/speed.md)."""
BATCH_FOR_CHANNELS_LAST = 8
"""Samples; from here channels_last is faster on a CPU (docs/speed.md); below, PyTorch's own convolutions gain more."""
BATCH_FOR_SHORT_FLOATS = 64
"""Samples; from here a CPU uses bfloat16: below, conversions take what the products gain."""
UNKNOWN_BATCH = BATCH_FOR_ONEDNN
"""Samples, for data that do not say how many a batch has: nothing is gained, and nothing lost."""
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def resolve_auto(config: Config, begun: str | None = None) -> Config:
    """Return a configuration in which nothing that concerns speed is `auto` any more.

    Args:
        config: of a training run, checked.
        begun: precision of the run that goes on, if it does: it stays.
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
        trainer["precision"] = begun or ("bf16-mixed" if short else "32-true")
    return {**config, "speed": speed, "trainer": trainer}


def on_cpu(trainer: Mapping[str, Any]) -> bool:
    """Return whether a Trainer with these settings computes on the CPU."""
    return trainer["accelerator"] == "cpu" or (trainer["accelerator"] == "auto" and not has_gpu())


def has_gpu() -> bool:
    """Return whether PyTorch finds one that Lightning takes for `accelerator: auto`."""
    return torch.cuda.is_available() or torch.backends.mps.is_available()


def processor_flags() -> set[str]:
    """What this processor can do, by Linux's names; nothing on another system."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))


def describe(speed: Mapping[str, Any]) -> str:
    """Describe in a line what of `speed`, resolved, is not as usual; empty where all is."""
    return ", ".join(
        [
            *([f"{speed['memory_format']}"] if speed["memory_format"] != "contiguous" else []),
            *([f"compiled ({speed['compile']})"] if speed["compile"] else []),
            *([f"float32 products {speed['matmul_precision']}"] if speed["matmul_precision"] != "highest" else []),
            *([] if speed["onednn"] else ["PyTorch's own convolutions"]),
            *(["data on the device"] if speed["data_on_device"] else []),
        ]
    )
