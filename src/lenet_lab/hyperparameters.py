"""What makes a run differ from another, as a flat table has it."""

from collections.abc import Iterator, Mapping
from typing import Any

from lenet_lab.processes import device_count

Value = float | int | str | bool

OF_MACHINE = {"root", "cache", "mirrors", "eval_batch_size", "fused", "foreach", "capturable"}
"""Keys of groups that change where and how fast a run is done, but not what comes out."""
OF_TRAINER = (
    "max_epochs",
    "max_steps",
    "limit_train_batches",
    "accumulate_grad_batches",
    "gradient_clip_val",
    "precision",
)
RUN_LENGTH = "run_length"  # stands for a number that follows from others


def hyperparameters(config: Mapping[str, Any]) -> dict[str, Value]:
    """Give the settings that a person compares runs by.

    Args:
        config: of a training run, checked; where it is settled (see `lenet_lab.speed.settle`), none is `auto`.

    Returns:
        By dotted key, such as `optimizer.lr`; a group's own name has its option (`data`, `model`, `test_time`) or
        class (`optimizer`, `scheduler`, `loss`), or "none". Lists are text. `effective_batch` is images a step, of all
        devices together. What is null is left out.
    """
    trainer, batch_size = config["trainer"], config["data"]["batch_size"]
    processes = device_count(trainer) * trainer["num_nodes"]
    values: dict[str, Value] = {
        "seed": config["seed"],
        "effective_batch": batch_size * processes * trainer["accumulate_grad_batches"],
    }
    for group in ("data", "model", "optimizer", "scheduler", "loss", "test_time"):
        node = config[group] or {}
        values[group] = config["choices"].get(group) or _class(node)
        values |= _flat(node, f"{group}.")
    values["augment"] = ", ".join(name for name, node in config["augment"].items() if node is not None) or "none"
    values |= _flat(config["augment"], "augment.")
    values |= _flat({key: trainer[key] for key in OF_TRAINER}, "trainer.")
    values |= _flat(config["speed"], "speed.")
    return values


def _class(node: Mapping[str, Any]) -> str:
    return str(node.get("_target_", "none")).rpartition(".")[2]


def _flat(node: Mapping[str, Any], prefix: str) -> dict[str, Value]:
    return dict(_leaves(node, prefix))


def _leaves(node: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Value]]:
    for key, value in node.items():
        if key.startswith("_") or key in OF_MACHINE or value is None or value == RUN_LENGTH:
            continue
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value if isinstance(value, float | int | str | bool) else str(value)
