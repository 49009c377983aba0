"""What a task or data may offer beside Lightning's hooks: each a method, and none of them needed.

A task is any `LightningModule`, data are any `LightningDataModule`. What one does not offer is left out.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, LightningModule
from markupsafe import Markup
from rich.console import RenderableType
from torch import Tensor, device, nn

from lab_engine.base.errors import UserError

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


@dataclass(frozen=True)
class Section:
    """A part of a run's report.

    Attributes:
        html: with all that comes from outside escaped; it needs no other file, and no script runs in it.
        style: CSS of its own.
    """

    html: Markup
    style: str = ""


@dataclass(frozen=True)
class Exportable:
    """A module that other programs are to run, as `export` writes it.

    Attributes:
        module: on the CPU. It takes the inputs one by one, and returns a tensor, several, or a dictionary of them.
        example: a batch of so many samples, by the names of the inputs, such as
            `lambda n: {"points": torch.rand(n, 2)}`. The file is compared with the module on it.
        outputs: their names, in the order of what the module returns.
        name: of the network.
        meanings: a line of each input that needs one, such as "RGB, 0 to 255".
        metadata: texts, numbers and lists of them that the file is to carry.
    """

    module: nn.Module
    example: Callable[[int], dict[str, Tensor]]
    outputs: tuple[str, ...]
    name: str = ""
    meanings: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read a single name as a list of one."""
        given: Any = self.outputs
        object.__setattr__(self, "outputs", (given,) if isinstance(given, str) else tuple(given))

    def __call__(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the outputs by name."""
        return named(self.module(*inputs.values()), self.outputs)


def named(found: Any, outputs: Sequence[str]) -> dict[str, Tensor]:
    """Return by its name what an exported module has returned.

    Raises:
        UserError: it is something else, or there are not as many names.
    """
    if isinstance(found, Mapping):
        return dict(found)
    if isinstance(found, Tensor):
        found = [found]
    if not isinstance(found, tuple | list) or len(found) != len(outputs):
        what = f"{len(found)} outputs" if isinstance(found, tuple | list) else f"a {type(found).__name__}"
        raise UserError(
            f"The exported module returns {what}, and exportable() names {', '.join(outputs)}.\n"
            "Return a tensor for each name, or a dictionary of them."
        )
    return dict(zip(outputs, found, strict=True))


@runtime_checkable
class Exports(Protocol):
    """A task whose network other programs can run."""

    def exportable(self, facts: Mapping[str, Any]) -> Exportable:
        """Return what `export` is to write.

        An argument `pixels`, where there is one, is given the value of `input=`.

        Args:
            facts: of the data that the task was trained on.
        """
        ...


@runtime_checkable
class GivesFacts(Protocol):
    """Data that `from_data` may refer to; `data.gives` in the configuration lists the names."""

    def model_arguments(self) -> dict[str, Any]:
        """Return numbers, texts and lists of them by name, once the data are set up."""
        ...


@runtime_checkable
class HasFingerprint(Protocol):
    """Data that can tell whether they are the same as those of another run."""

    def fingerprint(self) -> str:
        """Return a text that is another for other data."""
        ...


@runtime_checkable
class HasBatchValues(Protocol):
    """Data that know how much there is to compute; the number of CPU threads follows from it."""

    def values_per_batch(self) -> int:
        """Return how many numbers a training batch holds."""
        ...


@runtime_checkable
class Describes(Protocol):
    """A task or data with lines for the header of a run and its report."""

    def describe(self) -> dict[str, str]:
        """Return lines by name; empty ones are left out."""
        ...


def described(task: LightningModule) -> dict[str, str]:
    """Return a task's own lines, or of one that has none its class and its parameters."""
    if isinstance(task, Describes):
        return task.describe()
    parameters = sum(parameter.numel() for parameter in task.parameters())
    return {"task": f"{type(task).__name__}, {parameters:,} parameters"}


@runtime_checkable
class ChecksFacts(Protocol):
    """A task that knows from the facts of the data whether it can be trained on them."""

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Look at the facts that the data give, before anything is written.

        Raises:
            UserError: the task cannot be trained on such data; two lines say what to change.
        """
        ...


@runtime_checkable
class ChecksBatch(Protocol):
    """A task that knows what batches it can take."""

    def check_batch(self, batch: Any) -> None:
        """Look at the first batch, as it is given to `training_step` or `test_step`.

        Raises:
            UserError: the task cannot take it; two lines say what it is and what it must be.
        """
        ...


@runtime_checkable
class Summarizes(Protocol):
    """A task that shows its metrics on the terminal in its own way."""

    def summarize(self, metrics: Mapping[str, Any], stage: str) -> RenderableType:
        """Return what to print of `metrics`, as in `metrics.json`, of the stage "val" or "test"."""
        ...


@runtime_checkable
class Reports(Protocol):
    """A task with parts of its own in the report of a run."""

    def report_sections(self, data: LightningDataModule) -> Sequence[Section]:
        """Return them, after `Trainer.test`, in the first process of the run.

        The weights are those of the chosen checkpoint; the task is in evaluation mode, without gradients.
        """
        ...


class Pictures:
    """What TensorBoard shows of a run beside its curves; a subclass draws, and each device has an object of its own."""

    def begin(self, writer: "SummaryWriter", device: device) -> None:
        """Draw what stays the same, before training; in the first process alone."""

    def start(self, device: device) -> None:
        """Forget what has been seen: a pass over the validation or test data begins, on this device."""

    def update(self, batch: Any, outputs: Any) -> None:
        """Look at a batch, and at what `validation_step` or `test_step` has returned for it; without gradients."""

    def draw(self, writer: "SummaryWriter | None", stage: str, step: int) -> None:
        """Draw what has been seen; all processes call it.

        Args:
            writer: of the first process; elsewhere None.
            stage: "val" or "test".
            step: of the run, as curves number them.
        """


@runtime_checkable
class HasPictures(Protocol):
    """A task with pictures for TensorBoard."""

    def pictures(self, data: LightningDataModule) -> Pictures | None:
        """Return what draws them; None: there are none of such data."""
        ...
