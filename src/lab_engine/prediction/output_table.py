"""What a task gives for each sample of a data module, as `predictions.csv`."""

import csv
from collections.abc import Sequence, Sized
from typing import Any, TextIO

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, described

MAX_COLUMNS = 16_384  # of a spreadsheet


class OutputTable(Callback):
    """Writes a row for each sample, in the order of the loader: its number, the outputs, and any targets.

    The columns are `sample`, `output` and `target`; where a sample has several values, `output_0`, `output_1`, or
    `output_NAME` where there are as many names. Numbers are written so that they can be read back exactly.

    Args:
        stream: to write to.
        names: of the outputs, such as the task's classes.
    """

    def __init__(self, stream: TextIO, names: Sequence[str] = ()) -> None:
        self.count = 0
        """Of the rows."""
        self._writer = csv.writer(stream)
        self._names = list(map(str, names))

    def on_predict_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, *rest: int
    ) -> None:
        """Write the rows of a batch: a tensor, or a list of inputs and perhaps targets.

        Raises:
            UserError: the outputs are no tensor with a row for each sample, or have too many values for a table.
        """
        targets = batch[1] if isinstance(batch, list | tuple) and len(batch) == 2 else None
        columns = {"output": outputs, "target": targets} if isinstance(targets, Tensor) else {"output": outputs}
        tensors = isinstance(outputs, Tensor) and all(each.ndim for each in columns.values())
        if not tensors or len({len(each) for each in columns.values()}) > 1:
            raise UserError(
                f"predict_step() of {type(pl_module).__name__} returns {described(outputs)}, and predictions.csv has a "
                "row for each sample.\nReturn a tensor (B, …)."
            )
        values = sum(each[0].numel() for each in columns.values() if len(each))
        if values >= MAX_COLUMNS:
            raise UserError(
                f"The network gives {described(outputs)}: with targets, {values:,} values for each sample, and "
                f"predictions.csv has at most {MAX_COLUMNS:,} columns.\n"
                "Load the run in Python, and save its outputs as tensors."
            )
        if not self.count:
            shape = outputs.shape[1:]
            heads = [
                name
                for kind, each in columns.items()
                for name in _heads(kind, each.shape[1:], self._names if each.shape[1:] == shape else ())
            ]
            self._writer.writerow(["sample", *heads])
        for cells in zip(*map(_texts, columns.values()), strict=True):
            self._writer.writerow([self.count, *(cell for group in cells for cell in group)])
            self.count += 1

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the number of rows with that of the samples.

        Raises:
            UserError: they differ.
        """
        samples = getattr(trainer.predict_dataloaders, "dataset", None)
        if isinstance(samples, Sized) and len(samples) != self.count:
            raise UserError(
                f"predict_step() of {type(pl_module).__name__} returns {counted(self.count, 'row')} for "
                f"{counted(len(samples), 'sample')}.\nReturn a tensor (B, …) with a row for each sample of a batch."
            )


def _heads(kind: str, shape: Sequence[int], names: Sequence[str]) -> list[str]:
    """Name the values of a sample."""
    if np.prod(shape) == 1:
        return [kind]
    first = names if len(names) == shape[0] else range(shape[0])
    return ["_".join(map(str, (kind, first[place[0]], *place[1:]))) for place in np.ndindex(*shape)]


def _texts(values: Tensor) -> list[list[str]]:
    """Write the values of each sample, float32 (B, …) as the shortest number that is the same in float32."""
    rows = values.detach().cpu().reshape(len(values), -1)
    if rows.dtype in (torch.bfloat16, torch.float16):  # NumPy does not know the first
        rows = rows.float()
    numbers: list[list[str]] = (rows.int() if rows.dtype == torch.bool else rows).numpy().astype(str).tolist()
    return numbers
