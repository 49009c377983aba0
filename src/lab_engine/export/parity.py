"""Compare the outputs of an exported file with those of the module in PyTorch."""

from dataclasses import dataclass

import torch

from lab_engine.base.errors import UserError
from lab_engine.export.files import Run
from lab_engine.training.interface import Exportable

BATCHES = (1, 7, 256)
MAX_VALUES = 2**22  # in a batch; of large samples, batches are smaller
TOLERANCE = 1e-4  # relative to the largest output, if that is above 1; rounding alone gives about 1e-6


@dataclass(frozen=True)
class Parity:
    """The result of a comparison.

    Attributes:
        batches: sizes of the compared batches.
        difference: largest absolute difference between a value of the file and of PyTorch; NaN if shapes differ.
        allowed: largest difference that rounding explains.
    """

    batches: tuple[int, ...]
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether rounding explains the difference; false if it is NaN."""
        return self.difference <= self.allowed


@torch.inference_mode()
def compare(exportable: Exportable, run: Run) -> Parity:
    """Run a file and the module that it was exported from on batches of `exportable.example`.

    Raises:
        UserError: the module's own outputs are not finite, or have other names than `exportable.outputs`.
    """
    values = sum(tensor.numel() for tensor in exportable.example(1).values())
    max_batch = max(MAX_VALUES // max(values, 1), 1)
    batches = tuple(sorted({min(batch, max_batch) for batch in BATCHES}))
    difference = torch.zeros(())
    largest = torch.ones(())
    for batch in batches:
        inputs = exportable.example(batch)
        expected = exportable(inputs)
        if tuple(expected) != exportable.outputs:
            declared = ", ".join(exportable.outputs)
            raise UserError(
                f"The module returns the outputs {', '.join(expected)}, and exportable() names {declared}.\n"
                "Give both the same names, in the same order."
            )
        if not all(output.isfinite().all() for output in expected.values()):
            raise UserError(
                "The network of this checkpoint gives values that are infinite or not a number, and was not exported.\n"
                "Its training has diverged: train again with a smaller optimizer.lr."
            )
        found = run(inputs)
        for name, output in expected.items():
            if found[name].shape != output.shape:
                return Parity(batches, float("nan"), TOLERANCE)
            apart = (found[name].double() - output.double()).abs().max().float()
            difference = torch.maximum(difference, apart)  # keeps NaN
            largest = torch.maximum(largest, output.abs().max().float())
    return Parity(batches, difference.item(), TOLERANCE * largest.item())
