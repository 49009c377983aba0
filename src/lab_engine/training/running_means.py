"""Means of training, over an epoch and between log entries, whatever the task measures."""

from collections.abc import Iterable, Mapping
from functools import wraps
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, distributed
from torch.utils._pytree import tree_leaves
from torchmetrics import Metric

STEPS_PER_SUM = 64
"""A sum at each step costs 3 % of it at batch 4; of this many steps, next to nothing."""

Value = Tensor | tuple[Tensor, Tensor]
Sum = tuple[Tensor | float, int]  # over samples, and their number


class RunningMeans(Callback):
    """Means over the samples of an epoch, and since the last `report`, summed on the device that computes.

    A task that has one as `training_means` calls `update` in `training_step`. Lightning's `self.log` at each step would
    cost a third of it at batch 4, is not in checkpoints, and gives the mean of an epoch after the validation only.

    Attributes:
        means: of the epoch so far, over all devices, by names such as "train/loss": at the start of each validation and
            at the end of each epoch.
    """

    def __init__(self) -> None:
        self.means: dict[str, float] = {}
        self._epoch: dict[str, Sum] = {}
        self._window: dict[str, Sum] = {}  # since the last report, perhaps in an earlier epoch
        self._pending: dict[str, list[tuple[Value, int]]] = {}
        self._resumed: dict[str, Any] | None = None

    def update(self, samples: int, values: Mapping[str, Value]) -> None:
        """Add a batch; nothing waits for the device.

        Args:
            samples: in the batch.
            values: by name: the mean of the batch (), without gradient; or a pair of tensors, each (samples,), of which
                the fraction of equal values is the mean.
        """
        for name, value in values.items():
            pending = self._pending.setdefault(name, [])
            pending.append((value, samples))
            if len(pending) == STEPS_PER_SUM:
                self._sum_pending(name)

    def report(self) -> dict[str, Tensor]:
        """Return the means since the last report, on this device."""
        for name in self._pending:
            self._sum_pending(name)
        window, self._window = self._window, {}
        return {name: torch.as_tensor(total / samples) for name, (total, samples) in window.items()}

    def _sum_pending(self, name: str) -> None:
        if pending := self._pending[name]:
            more = _sum_of(pending)
            self._epoch[name], self._window[name] = (_add(each.get(name), more) for each in (self._epoch, self._window))
            pending.clear()

    def epoch_sums(self) -> dict[str, Sum]:
        """Return the sums of the epoch so far, on this device.

        Pending values stay pending: a sum of other parts would differ in its last digits, and so would a resumed run.
        """
        sums = {name: _add(self._epoch.get(name), _sum_of(each)) for name, each in self._pending.items() if each}
        return {**self._epoch, **sums}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start at zero, or where the checkpoint was written."""
        state = _move(self._resumed or {"epoch": {}, "window": {}, "pending": {}}, pl_module.device)
        self._epoch, self._window, self._pending = state["epoch"], state["window"], state["pending"]
        self._resumed = None

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch at zero; Lightning does not call this again for a resumed epoch."""
        for name in self._pending:
            self._sum_pending(name)
        self._epoch = {}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the means."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._compute(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compute the means."""
        self._compute(trainer)

    def _compute(self, trainer: Trainer) -> None:
        found = [{name: (float(total), samples) for name, (total, samples) in self.epoch_sums().items()}]
        if trainer.world_size > 1:
            found *= trainer.world_size
            distributed.all_gather_object(found, found[0])
        self.means = _means(found)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run continues."""
        state = {"epoch": self._epoch, "window": self._window, "pending": self._pending}
        return {name: _move(part) for name, part in state.items()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Set where the next training starts."""
        self._resumed = state_dict


class LoggedMeans(RunningMeans):
    """Means of all numbers that a task without `training_means` logs as `train/…` in `training_step`."""

    def __init__(self) -> None:
        super().__init__()
        self._step: list[tuple[str, Tensor, int | None]] = []  # what the present step has logged

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Wrap the task's `log`."""
        log = getattr(pl_module.log, "of_task", pl_module.log)  # an earlier training has wrapped it, too

        @wraps(log)
        def log_and_add(name: str, value: Any, *arguments: Any, **options: Any) -> None:
            in_step = pl_module._current_fx_name == "training_step" and name.startswith("train/")
            if in_step and not isinstance(value, Metric) and options.get("reduce_fx", "mean") in ("mean", torch.mean):
                copy = torch.as_tensor(value, device=pl_module.device).detach().clone().reshape(())
                self._step.append((name, copy, options.get("batch_size")))
            log(name, value, *arguments, **options)

        log_and_add.of_task = log  # type: ignore[attr-defined]
        pl_module.log = log_and_add  # type: ignore[method-assign]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Add what the step has logged."""
        for name, value, samples in self._step:
            self.update(samples or _samples_in(batch), {name: value})
        self._step.clear()


def _samples_in(batch: Any) -> int:
    """Return the length of the first tensor of a batch; 1 if there is none."""
    return next((len(each) for each in tree_leaves(batch) if isinstance(each, Tensor) and each.ndim), 1)


def _sum_of(pending: Iterable[tuple[Value, int]]) -> Sum:
    values, samples = zip(*pending, strict=True)
    if isinstance(values[0], tuple):
        ones, others = (torch.cat(each) for each in zip(*values, strict=True))
        return _exact((ones == others).sum()), sum(samples)
    means = _exact(torch.stack(values))
    return (means * means.new_tensor(samples)).sum(), sum(samples)


def _exact(values: Tensor) -> Tensor:
    return values.to(torch.float32 if values.device.type == "mps" else torch.float64)  # "mps" has no float64


def _add(one: Sum | None, other: Sum) -> Sum:
    return other if one is None else (one[0] + other[0], one[1] + other[1])


def _means(found: Iterable[Mapping[str, tuple[float, int]]]) -> dict[str, float]:
    sums: dict[str, tuple[float, int]] = {}
    for of_device in found:
        for name, (total, samples) in of_device.items():
            before = sums.get(name, (0.0, 0))
            sums[name] = before[0] + total, before[1] + samples
    return {name: total / samples for name, (total, samples) in sums.items() if samples}


def _move(state: Any, device: torch.device | None = None) -> Any:
    """Copy a state, to another device if one is given."""
    if isinstance(state, Tensor):
        return state.clone() if device is None else state.to(device)
    if isinstance(state, dict):
        return {key: _move(value, device) for key, value in state.items()}
    return type(state)(_move(value, device) for value in state) if isinstance(state, list | tuple) else state
