"""Which jobs can train together in one process, and what that gains. Light: a sweep's controller imports it."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lenet_lab.errors import UserError

Config = dict[str, Any]

SPEEDUP: dict[int, dict[int, float]] = {
    4: {4: 1.4, 16: 2.6},
    32: {4: 1.1, 16: 1.2},
    128: {4: 0.9, 16: 0.8},
}
"""Images in a batch: networks: how many times as fast as one after another, by `scripts/bench/together.py`.

LeNet on a JPEG re-encoding of CIFAR-10, one run each on 2 cores of an Intel Xeon that had nothing else to do (PyTorch
2.14.1), threads as the program chooses them: together 2, but 1 for 4 networks at batch 4; one after another 1 at batch
4 and 2 above.
"""

ONLY: dict[str, tuple[Any, ...]] = {
    "_target_": ("lightning.pytorch.Trainer",),
    "num_nodes": (1,),
    "accelerator": ("auto", "cpu", "gpu", "cuda"),
    "strategy": ("auto",),
    "precision": ("32-true",),
    "max_steps": (-1,),
    "accumulate_grad_batches": (1,),
    "gradient_clip_val": (None,),
    "profiler": (None,),
}
"""Keys of `trainer` that can have these values only."""
EXACT = {
    "memory_format": "contiguous",
    "compile": None,
    "matmul_precision": "highest",
    "onednn": True,
    "data_on_device": False,
}
"""The only `speed` that is supported."""
ANY = (
    "max_epochs",
    "limit_train_batches",
    "limit_val_batches",
    "limit_test_batches",
    "check_val_every_n_epoch",
    "log_every_n_steps",
)
"""Keys of `trainer` that can have any value."""
LOGGERS = (
    "lightning.pytorch.loggers.TensorBoardLogger",
    "lightning.pytorch.loggers.CSVLogger",
    "lenet_lab.loggers.tensorboard.TensorBoard",
    "lenet_lab.loggers.csv.CSV",
    "lenet_lab.loggers.mlflow.MLflow",
    "lenet_lab.loggers.wandb.Wandb",
)
CHECKPOINTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "best": {
        "monitor": ("val/accuracy", "val/loss"),
        "mode": ("max", "min"),
        "auto_insert_metric_name": (False,),
    },
}
"""The supported checkpoints, by `filename`: Lightning's ModelCheckpoint, with these values of its other keys."""
LAST = "lenet_lab.callbacks.last.Last"
"""Between epochs, that is: in the middle of one they are not saved."""
WATCHERS = ("lenet_lab.callbacks.dashboard.Dashboard", "lenet_lab.callbacks.finite.Finite")
"""The other callbacks that are supported."""
CROSS_ENTROPY = {"_target_": "torch.nn.CrossEntropyLoss", "label_smoothing": 0.0}
"""The loss that is supported."""
OWN = ("seed", "optimizer", "scheduler", "folder")
"""Parts of a configuration that each network has for itself."""


def groups(configs: Sequence[Config], at_most: int) -> list[list[int]]:
    """Find the jobs that can train together: they differ in seed, optimizer and schedule only.

    Args:
        configs: checked.
        at_most: jobs in a group.

    Returns:
        Indices of `configs`: each is in one group, in order; a group of one is a job that trains alone.
    """
    found: list[list[int]] = []
    open_groups: dict[str, list[int]] = {}
    for index, config in enumerate(configs):
        if why_alone(config):
            found.append([index])
            continue
        key = _common(config)
        if len(open_groups.get(key, [])) in (0, at_most):
            open_groups[key] = []
            found.append(open_groups[key])
        open_groups[key].append(index)
    return found


def why_alone(config: Config) -> str:
    """Say in a line which setting keeps a job from training together with others; empty if none does."""
    if "optimizer" not in config:
        return "only training can be done together"
    trainer, scheduler = config["trainer"], config["scheduler"] or {}
    for key, value in trainer.items():
        if key == "devices":
            allowed = value == 1 or (isinstance(value, list) and len(value) == 1)
        else:
            allowed = key in ANY or value in ONLY.get(key, ())
        if not allowed:
            return f"trainer.{key}={value} is not supported"
    for key, value in config["speed"].items():
        if value != EXACT[key]:
            return f"speed.{key}={value} is not supported"
    for name, callback in config["callbacks"].items():
        if callback is not None and (reason := _why_not_callback(name, callback, config["folder"])):
            return reason
    for name, logger in config["logger"].items():
        if logger is not None and logger["_target_"] not in LOGGERS:
            return f"logger.{name} ({logger['_target_']}) is not supported"
    files = [callback["filename"] for callback in config["callbacks"].values() if callback and "filename" in callback]
    if len(set(files)) < len(files):
        return "callbacks has the same checkpoint twice"
    if config["loss"] != CROSS_ENTROPY:
        return (
            f"loss ({config['loss']['_target_']}) is not supported: only {CROSS_ENTROPY['_target_']} without "
            "label_smoothing is"
        )
    if config["optimizer"]["_target_"] == "torch.optim.LBFGS":
        return "optimizer (torch.optim.LBFGS) computes the loss several times a step"
    if scheduler.get("monitor") and (scheduler["interval"] != "epoch" or trainer["check_val_every_n_epoch"] != 1):
        return f"scheduler.monitor={scheduler['monitor']} needs a validation at every interval"
    return ""


def _why_not_callback(name: str, callback: Config, folder: str) -> str:
    if callback["_target_"] in WATCHERS:
        return ""
    if callback["_target_"] == LAST and callback["dirpath"] == f"{folder}/checkpoints":
        return ""
    own = CHECKPOINTS.get(callback.get("filename", ""))
    if callback["_target_"] != "lightning.pytorch.callbacks.ModelCheckpoint" or own is None:
        return f"callbacks.{name} ({callback['_target_']}) is not supported"
    allowed = {
        "_target_": (callback["_target_"],),
        "filename": (callback["filename"],),
        "dirpath": (f"{folder}/checkpoints",),
        "enable_version_counter": (False,),
        **own,
    }
    for key in sorted(callback.keys() | allowed.keys()):
        if callback.get(key) not in allowed.get(key, ()):
            return f"callbacks.{name}.{key}={callback.get(key)} is not supported"
    return ""


def _common(config: Config) -> str:
    """What all networks of a group must share, as text; paths in the run folder count as the same."""
    common = {key: value for key, value in config.items() if key not in OWN}
    return json.dumps(common, sort_keys=True).replace(json.dumps(config["folder"])[1:-1], "")


def expectation(networks: int, batch_size: int) -> str:
    """Say in a line what training so many networks together is expected to gain, by the nearest case of `SPEEDUP`.

    That is the case with no more networks and no smaller batch, where there is one: it promises too little.
    """
    batch = min((measured for measured in SPEEDUP if measured >= batch_size), default=max(SPEEDUP))
    count = max((measured for measured in SPEEDUP[batch] if measured <= networks), default=min(SPEEDUP[batch]))
    return (
        f"{networks} networks together: on a CPU about {SPEEDUP[batch][count]:.1f} times as fast as one after another "
        f"(LeNet, measured with {count} networks at batch {batch})"
    )


class JobsFailedError(UserError):
    """Some of the jobs of a group have failed, and the others are done.

    Attributes:
        reasons: by run folder.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        super().__init__(next(iter(reasons.values())))
        self.reasons = reasons


def train_together(configs: Sequence[Config]) -> list[dict[str, Any]]:
    """Train the jobs of one of the `groups` in this process, as `lenet_lab.train.run` would train each, and faster.

    The networks are stacked in one set of tensors, and take each step together. Each has its own order of images,
    random numbers, optimizer and schedule, and leaves its own run folder; the results are those of training alone up
    to rounding. A job that was interrupted goes on from its last checkpoint. Where the network cannot be stacked, or
    the results would not be the same because it draws random numbers (dropout), the jobs are run one after another,
    and their logs say why.

    Args:
        configs: checked.

    Returns:
        The metrics of each job, as `run` gives them. `train/seconds` is a job's share of the time of all.

    Raises:
        JobsFailedError: the loss of a network was not finite; all others have been trained to their end.
    """
    from lenet_lab.sweeps.lockstep import train_in_lockstep

    return train_in_lockstep(configs)
