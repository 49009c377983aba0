"""A loss that is not a finite number ends the run, and leaves the batch that it came from."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from lab_engine.artifacts.checkpoint_io import write_checkpoint
from lab_engine.base.errors import IncompleteError

MAX_BYTES_HELD = 256 * 10**6  # of a GPU's memory, by batches whose losses have not been looked at yet


class Step(NamedTuple):
    """A training step.

    Attributes:
        number: optimizer steps of the run until then, this one counted.
        epoch: from 1.
        batch_number: in the epoch and on this device, from 1.
        batch: as the network saw it.
        loss: ().
    """

    number: int
    epoch: int
    batch_number: int
    batch: Any
    loss: Tensor


class Watch:
    """Looks at losses on a GPU, many at a time, for each look waits for it.

    Args:
        every: steps between two looks; fewer where their batches take more than `MAX_BYTES_HELD`.
    """

    def __init__(self, every: int) -> None:
        self.every = every
        self._held: list[Step] = []
        self._bytes: dict[int, int] = {}  # that their batches keep from being freed, by address

    def add(self, step: Step) -> Step | None:
        """Return the first step whose loss is not finite, if it is time to look and there is one."""
        self._held.append(step)
        for tensor in _tensors(step.batch):
            storage = tensor.untyped_storage()  # a batch may be cut from many, which all stay with it
            self._bytes[storage.data_ptr()] = storage.nbytes()
        full = len(self._held) >= self.every or sum(self._bytes.values()) >= MAX_BYTES_HELD
        return self.look() if full else None

    def look(self) -> Step | None:
        """Return the first step since the last look whose loss is not finite, or None."""
        held, self._held = self._held, []
        self._bytes.clear()
        if not held:
            return None
        finite = torch.stack([step.loss.isfinite() for step in held]).tolist()
        return next((step for step, is_finite in zip(held, finite, strict=True) if not is_finite), None)


class NonFiniteGuard(Callback):
    """Ends a run whose loss is NaN or infinite, and sees to it that no checkpoint holds weights that are.

    What is needed to see why goes to `bad_batch.pt`: `batch` as the task was given it, `loss`, the numbers `step`,
    `epoch` and `batch_number`, and `weights`, the task's `state_dict`: on a CPU those that gave this loss, on a GPU
    those of up to `every` steps later. Only tensors and plain data; what else a batch holds is left out.

    Args:
        folder: the run folder.
        every: steps between two looks at a GPU, see `Watch`; on a CPU a look costs nothing, and each loss is looked at.
    """

    def __init__(self, folder: str | Path, every: int = 64) -> None:
        if type(every) is not int or every < 1:
            raise ValueError(f"every={every!r} is refused: give a whole number, at least 1 (steps between two looks)")
        self.folder = Path(folder)
        self.every = every
        self._watch = Watch(every)
        self._batch: Any
        self._batch_number = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Forget an earlier training."""
        self._watch = Watch(self.every)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Keep the batch until the next one comes."""
        self._batch, self._batch_number = batch, batch_idx + 1

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Look before the weights move: on a CPU they are still those that gave this loss.

        Of several batches to a step `loss` is a part, and in 16-bit precision a multiple: as finite as the loss itself.
        """
        if loss.device.type != "cpu":
            self._end(trainer, pl_module, self._watch.add(self._step(trainer, loss.detach())))
        elif not math.isfinite(loss.item()):
            self._end(trainer, pl_module, self._step(trainer, loss.detach()))

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Look at the rest."""
        self._end(trainer, pl_module, self._watch.look())

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Look at the rest, and at the weights: the last step may have spoiled them, whatever its loss was."""
        if trainer.training or trainer.validating or trainer.sanity_checking:
            self._end(trainer, pl_module, self._watch.look())
            if self._batch_number and not _all_finite(pl_module):
                step = self._step(trainer, torch.tensor(math.nan))._replace(number=trainer.global_step)
                raise self._leave(trainer, pl_module, step, f"after step {step.number} not all weights are finite")

    def _step(self, trainer: Trainer, loss: Tensor) -> Step:
        return Step(trainer.global_step + 1, trainer.current_epoch + 1, self._batch_number, self._batch, loss)

    def _end(self, trainer: Trainer, module: LightningModule, step: Step | None) -> None:
        if step is not None:
            where = f"at step {step.number} (epoch {step.epoch}, batch {step.batch_number})"
            raise self._leave(trainer, module, step, f"the loss is {float(step.loss):g} {where}")

    def _leave(self, trainer: Trainer, module: LightningModule, step: Step, wrong: str) -> IncompleteError:
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
        return IncompleteError(
            f"{wrong}, and the run has ended. The batch is in {file}.\n"
            "Try a smaller optimizer.lr, or trainer.gradient_clip_val=1; callbacks.finite=null lets a run go on."
        )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _tensors(part)


def _plain(value: Any) -> Any:
    """Copy tensors and plain data; what else there is becomes None."""
    if isinstance(value, Tensor):
        return value.detach().clone()  # or all that it was cut from would be saved
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items() if isinstance(key, str | int)}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value if isinstance(value, str | int | float | bool) else None


def _all_finite(module: nn.Module) -> bool:
    """Return whether all weights are finite, and all running means and the like."""
    values = [tensor for tensor in module.state_dict().values() if tensor.is_floating_point() and tensor.numel()]
    return not values or bool(torch.stack([tensor.isfinite().all() for tensor in values]).all())
