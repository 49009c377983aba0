"""The settings that runs are compared by, as a flat table."""

from collections.abc import Iterator, Mapping
from typing import Any

from lab_engine.base.devices import device_count
from lab_engine.config.facts import FROM_DATA, RUN_LENGTH

Value = float | int | str | bool

MACHINE_KEYS = {"root", "cache", "mirrors", "on_device", "eval_batch_size", "fused", "foreach", "capturable"}
"""Keys of groups that change where and how fast a run computes, but not its result."""
TRAINER_KEYS = (
    "max_epochs",
    "max_steps",
    "limit_train_batches",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "precision",
)
PROGRAM_KEYS = {"takes", "gives", "monitor", "mode", "directions", "percent"}


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Value]:
    """Return the settings that a person compares runs by.

    Args:
        config: of a training run, checked; after `speed.resolve_auto` no value is `auto`.

    Returns:
        Values by dotted key, such as `optimizer.lr`. The name of a group has its option as value; for a group of named
        parts their names, or "none". Lists become text, null is left out. `effective_batch` is the samples per
        optimizer step on all devices.
    """
    trainer, batch_size = config["trainer"], config["data"].get("batch_size")
    processes = device_count(trainer) * trainer["num_nodes"]
    values: dict[str, Value] = {"seed": config["seed"]}
    if batch_size is not None:
        values["effective_batch"] = batch_size * processes * trainer["accumulate_grad_batches"]
    for group in dict.fromkeys(("task", "data", *config["task"].get("takes", ()), *config["data"].get("takes", ()))):
        node = config.get(group)
        if not isinstance(node, dict | None) or group not in config:
            continue
        several = {name: part for name, part in (node or {}).items() if isinstance(part, dict | None)}
        if node and "_target_" not in node:
            values[group] = ", ".join(name for name, part in several.items() if part is not None) or "none"
        else:
            values[group] = config["choices"].get(group) or _class(node or {})
        values |= _flat(node or {}, f"{group}.")
    values |= _flat({key: trainer[key] for key in TRAINER_KEYS}, "trainer.")
    values |= _flat(config["speed"], "speed.")
    return values


def _class(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_", "none")).rpartition(".")[2]


def _flat(node: Mapping[str, Any], prefix: str) -> dict[str, Value]:
    return dict(_leaves(node, prefix))


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, value in node.items():
        if (
            key.startswith("_")
            or key in MACHINE_KEYS | PROGRAM_KEYS
            or value is None
            or value in (RUN_LENGTH, FROM_DATA)
        ):
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, float | int | str | bool) else str(value)
