"""Optional methods of a task or data, in addition to Lightning's hooks.

A task is any `LightningModule`, data is any `LightningDataModule`. A feature whose method is missing is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, LightningModule
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor, device, nn

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted
from lab_engine.training.running_means import RunningMeans

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Section:
    """A part of a run's report.

    Attributes:
        html: text from outside must be escaped; the page blocks scripts and loads no other file.
        style: CSS for this section.
    """

    html: Markup
    style: str = ""


@dataclass(frozen=True)
class Exportable:
    """A module to export, with its inputs and outputs.

    Attributes:
        module: on the CPU. It takes the inputs as positional arguments, and returns a tensor, a list or tuple of
            tensors, or a dictionary of them.
        example: returns a batch of n samples, as tensors by the names of the inputs, such as
            `lambda n: {"points": torch.rand(n, 2)}`. The file and the module are compared on it.
        outputs: names of the outputs, in the order in which the module returns them.
        name: of the network.
        meanings: descriptions of inputs by name, such as "RGB, 0 to 255".
        metadata: texts, numbers and lists of them, which are written into the file.
        note: how the outputs differ from those that the run measured; the command `export` shows it.
    """

    module: nn.Module
    example: Callable[[int], dict[str, Tensor]]
    outputs: tuple[str, ...]
    name: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        """Make a single name of an output a tuple of one."""
        given: Any = self.outputs
        object.__setattr__(self, "outputs", (given,) if isinstance(given, str) else tuple(given))

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name."""
        return name_outputs(self.module(*inputs.values()), self.outputs)


def name_outputs(returned: Any, outputs: Sequence[str]) -> dict[str, Tensor]:
    """Return the outputs of an exported module by name.

    Raises:
        UserError: the module returned another type, or another number of outputs.
    """
    if isinstance(returned, Mapping):
        return dict(returned)
    if isinstance(returned, Tensor):
        returned = [returned]
    if not isinstance(returned, tuple | list) or len(returned) != len(outputs):
        several = isinstance(returned, tuple | list)
        what = counted(len(returned), "output") if several else f"a {type(returned).__name__}"
        raise UserError(
            f"The exported module returns {what}, and exportable() names {', '.join(outputs)}.\n"
            "Return a tensor for each name, or a dictionary of them."
        )
    return dict(zip(outputs, returned, strict=True))


@runtime_checkable
class HasTrainingMeans(Protocol):
    """A task that adds up its own means of training; of another, those of what it logs as `train/…` are taken."""

    training_means: RunningMeans


@runtime_checkable
class Exports(Protocol):
    """A task whose network other programs can run."""

    def exportable(self, facts: Mapping[str, Any]) -> Exportable:
        """Return the module to export.

        A method with an argument `pixels` gets the value of the option `input=` in it.

        Args:
            facts: of the data that the task was trained on.
        """
        ...


@runtime_checkable
class GivesFacts(Protocol):
    """Data that `from_data` may refer to; `data.gives` in the configuration lists the names."""

    def model_arguments(self) -> dict[str, Any]:
        """Return numbers, texts and lists of them by name; called after `setup`."""
        ...


@runtime_checkable
class HasFingerprint(Protocol):
    """Data with a fingerprint: a resumed or repeated run compares it, and warns if the data has changed."""

    def fingerprint(self) -> str:
        """Return a text that differs for different data, such as a hash."""
        ...


@runtime_checkable
class HasBatchValues(Protocol):
    """Data that knows the size of its batches, from which the number of CPU threads follows."""

    def values_per_batch(self) -> int:
        """Return the number of values in a training batch: samples times values per sample."""
        ...


@runtime_checkable
class Describes(Protocol):
    """A task or data with lines for the header of a run and its report."""

    def describe(self) -> dict[str, str]:
        """Return lines by name; empty ones are left out."""
        ...


def describe_task(task: LightningModule) -> dict[str, str]:
    """Return the lines of the task's `describe()`; for a task without it, its class and number of parameters."""
    if isinstance(task, Describes):
        return task.describe()
    parameters = sum(parameter.numel() for parameter in task.parameters())
    return {"task": f"{type(task).__name__}, {counted(parameters, 'parameter')}"}


@runtime_checkable
class ChecksFacts(Protocol):
    """A task that checks the facts of the data before training."""

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Check the facts, before anything is written.

        Raises:
            UserError: the task cannot be trained on such data; the second line says what to change.
        """
        ...


@runtime_checkable
class ChecksBatch(Protocol):
    """A task that checks the first batch."""

    def check_batch(self, batch: Any) -> None:
        """Check the first batch, as `training_step` or `test_step` gets it.

        Raises:
            UserError: the task cannot take it; two lines say what it is and what it must be.
        """
        ...


@runtime_checkable
class Summarizes(Protocol):
    """A task that formats its metrics for the terminal."""

    def summarize(self, metrics: Mapping[str, Any], stage: str) -> RenderableType:
        """Return what to print for the stage "val" or "test"; `metrics` are as in `metrics.json`."""
        ...


@runtime_checkable
class Reports(Protocol):
    """A task with sections of its own in the report of a run."""

    def report_sections(self, data: LightningDataModule) -> Sequence[Section]:
        """Return the sections; called after `Trainer.test`, in the process of rank 0 only.

        The weights are those of the chosen checkpoint; the task is in evaluation mode, without gradients.
        """
        ...


class Pictures:
    """Base class of pictures for TensorBoard; each process has an object of its own."""

    def begin(self, writer: "SummaryWriter", device: device) -> None:
        """Draw pictures that do not change, before training; called in the process of rank 0 only."""

    def start(self, device: device) -> None:
        """Reset: a pass over the validation or test data starts, on this device."""

    def update(self, batch: Any, outputs: Any) -> None:
        """Look at a batch and the return value of `validation_step` or `test_step`; called without gradients."""

    def draw(self, writer: "SummaryWriter | None", stage: str, step: int) -> None:
        """Draw pictures of the pass; called in all processes.

        Args:
            writer: None in all processes but that of rank 0.
            stage: "val" or "test".
            step: the step of the run, as TensorBoard numbers curves.
        """


@runtime_checkable
class HasPictures(Protocol):
    """A task with pictures for TensorBoard."""

    def pictures(self, data: LightningDataModule) -> Pictures | None:
        """Return an object that draws pictures of such data, or None if the task has none for it."""
        ...
