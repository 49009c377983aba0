"""End a run whose loss or weights are not finite, and save the batch."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lab_engine.artifacts.checkpoint_io import write_checkpoint
from lab_engine.base.errors import IncompleteError

MAX_BYTES_HELD = 256 * 10**6  # of a GPU's memory, by batches whose losses have not been checked yet


class Step(NamedTuple):
    """A training step.

    Attributes:
        number: of the optimizer step in the run, from 1.
        epoch: from 1.
        batch_number: in the epoch and on this device, from 1.
        batch: as `training_step` got it.
        loss: scalar tensor.
    """

    number: int
    epoch: int
    batch_number: int
    batch: Any
    loss: Tensor


class LossBuffer:
    """Collects losses on a GPU and checks many at once, because each check waits for the GPU.

    Args:
        every: steps between two checks; fewer if their batches take more than `MAX_BYTES_HELD`.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._held: list[Step] = []
        self._bytes: dict[int, int] = {}  # size of each storage that the held batches keep in memory, by address

    def add(self, step: Step) -> Step | None:
        """Add a step; if a check is due, return the first step whose loss is not finite, else None."""
        self._held.append(step)
        for tensor in _tensors(step.batch):
            storage = tensor.untyped_storage()  # of a view, the whole storage stays in memory
            self._bytes[storage.data_ptr()] = storage.nbytes()
        full = len(self._held) >= self.every or sum(self._bytes.values()) >= MAX_BYTES_HELD
        return self.check() if full else None

    def check(self) -> Step | None:
        """Return the first step since the last check whose loss is not finite, or None."""
        held, self._held = self._held, []
        self._bytes.clear()
        if not held:
            return None
        finite = torch.stack([step.loss.isfinite() for step in held]).tolist()
        return next((step for step, is_finite in zip(held, finite, strict=True) if not is_finite), None)


class NonFiniteGuard(Callback):
    """Ends a run whose loss is NaN or infinite, and prevents checkpoints with such weights.

    For debugging it writes `bad_batch.pt`: `batch` as `training_step` got it, `loss`, the numbers `step`, `epoch` and
    `batch_number`, and `weights`, the task's `state_dict`. On a CPU these weights gave the loss; on a GPU they may be
    up to `every` steps later. The file holds tensors and plain data only; other objects of a batch are left out.

    Args:
        folder: the run folder.
        every: steps between two checks on a GPU, see `LossBuffer`; on a CPU each loss is checked.
    """

    def __init__(self, folder: str | Path, every: int = 64) -> None:
        if type(every) is not int or every < 1:
            raise ValueError(f"every={every!r} is refused: give a whole number, at least 1 (steps between two checks)")
        self.folder = Path(folder)
        self.every = every
        self._losses = LossBuffer(every)
        self._batch: Any
        self._batch_number = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reset, for a second `fit`."""
        self._losses = LossBuffer(self.every)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch until the next one."""
        self._batch, self._batch_number = batch, batch_idx + 1

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss before the weights change.

        Here `loss` is divided by the number of accumulated batches, and scaled in 16-bit precision: neither changes
        whether it is finite.
        """
        if loss.device.type != "cpu":
            self._end(trainer, pl_module, self._losses.add(self._step(trainer, loss.detach())))
        elif not math.isfinite(loss.item()):
            self._end(trainer, pl_module, self._step(trainer, loss.detach()))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the remaining losses."""
        self._end(trainer, pl_module, self._losses.check())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Check the remaining losses and the weights: a step with a finite loss can also make weights NaN."""
        if trainer.training or trainer.validating or trainer.sanity_checking:
            self._end(trainer, pl_module, self._losses.check())
            if self._batch_number and not _all_finite(pl_module):
                step = self._step(trainer, torch.tensor(math.nan))._replace(number=trainer.global_step)
                raise self._save_batch(trainer, pl_module, step, f"after step {step.number} not all weights are finite")

    def _step(self, trainer: Trainer, loss: Tensor) -> Step:
        return Step(trainer.global_step + 1, trainer.current_epoch + 1, self._batch_number, self._batch, loss)

    def _end(self, trainer: Trainer, module: LightningModule, step: Step | None) -> None:
        if step is not None:
            where = f"at step {step.number} (epoch {step.epoch}, batch {step.batch_number})"
            raise self._save_batch(trainer, module, step, f"the loss is {float(step.loss):g} {where}")

    def _save_batch(self, trainer: Trainer, module: LightningModule, step: Step, problem: str) -> IncompleteError:
        """Write `bad_batch.pt`, and return the error to raise."""
        file = self.folder / ("bad_batch.pt" if trainer.world_size == 1 else f"bad_batch.{trainer.global_rank}.pt")
        content = {
            "batch": _plain(step.batch),
            "loss": float(step.loss),
            "step": step.number,
            "epoch": step.epoch,
            "batch_number": step.batch_number,
            "weights": _plain(module.state_dict()),
        }
        write_checkpoint(content, file)
        smaller = "a smaller optimizer.lr, or trainer.gradient_clip_val=1"
        if not module.automatic_optimization:  # such a task has its own optimizers, and clips its gradients itself
            smaller = "a smaller learning rate"
        return IncompleteError(
            f"{problem}, and the run has ended. The batch is in {file}.\n"
            f"Try {smaller}; with callbacks.finite=null a run continues."
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _plain(value: Any) -> Any:
    """Copy tensors and plain data; other objects become None."""
    if isinstance(value, Tensor):
        return value.detach().clone()  # a clone: of a view, the whole storage would be saved
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items() if isinstance(key, str | int)}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool) else None


def _all_finite(module: nn.Module) -> bool:
    """Return whether all floating-point parameters and buffers are finite."""
    values = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point() and tensor.numel()]
    return not values or bool(torch.stack([tensor.isfinite().all() for tensor in values]).all())
