"""Whether a file gives what PyTorch gives."""

from dataclasses import dataclass

import torch

from lab_engine.base.errors import UserError
from lab_engine.export.files import Run
from lab_engine.training.interface import Exportable

BATCHES = (1, 7, 256)
MAX_VALUES = 2**22  # of a batch; large samples are compared in smaller ones
TOLERANCE = 1e-4  # as a fraction of an output's largest value where that is above 1; rounding leaves about 1e-6


@dataclass(frozen=True)
class Parity:
    """What came of a comparison.

    Attributes:
        batches: samples in each.
        difference: the largest between a value of the file and PyTorch's.
        allowed: the largest that rounding explains.
    """

    batches: tuple[int, ...]
    difference: float
    allowed: float

    @property
    def holds(self) -> bool:
        """Whether rounding explains the difference; never if that is NaN."""
        return self.difference <= self.allowed


@torch.inference_mode()
def compare(exportable: Exportable, run: Run) -> Parity:
    """Run a file beside the module that it was made of, on its example.

    Raises:
        UserError: the module itself gives what is not finite, or other outputs than it says.
    """
    values = sum(tensor.numel() for tensor in exportable.example(1).values())
    most = max(MAX_VALUES // max(values, 1), 1)
    batches = tuple(sorted({min(batch, most) for batch in BATCHES}))
    difference = torch.zeros(())
    largest = torch.ones(())
    for batch in batches:
        inputs = exportable.example(batch)
        expected = exportable(inputs)
        if tuple(expected) != exportable.outputs:
            said = ", ".join(exportable.outputs)
            raise UserError(
                f"The module has the outputs {', '.join(expected)}, and exportable() says {said}.\n"
                "Make them the same, in the same order."
            )
        if not all(output.isfinite().all() for output in expected.values()):
            raise UserError(
                "The network of this checkpoint gives values that are infinite or not a number, and was not exported.\n"
                "Its training has diverged: train it with a smaller optimizer.lr."
            )
        found = run(inputs)
        for name, output in expected.items():
            if found[name].shape != output.shape:
                return Parity(batches, float("nan"), TOLERANCE)
            apart = (found[name].double() - output.double()).abs().max().float()
            difference = torch.maximum(difference, apart)  # NaN stays
            largest = torch.maximum(largest, output.abs().max().float())
    return Parity(batches, difference.item(), TOLERANCE * largest.item())
