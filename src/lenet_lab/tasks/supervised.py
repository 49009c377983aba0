"""Any network on pairs of inputs and targets: regression, several labels, masks, tables, text."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

from jaxtyping import Float
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import Metric, SumMetric

from lab_engine.base.errors import UserError
from lab_engine.base.wording import counted, described, shown
from lab_engine.config.schedule import Schedule
from lab_engine.reports.part_table import part_sections
from lab_engine.training.interface import Section
from lab_engine.training.running_means import RunningMeans
from lab_engine.training.try_batch import outputs_of, refuse_unfit
from lenet_lab.metrics import by_class
from lenet_lab.views.report_masks import Masks, first_masks, mask_section


class Supervised(LightningModule):
    """Minimizes a loss of outputs and targets, and measures any metrics of TorchMetrics.

    Args:
        model: the network, from inputs to outputs; it is given the first part of a batch.
        loss: from outputs and targets to the mean loss ().
        metrics: by name, each updated with outputs and targets. A metric with a value for each class is logged as
            `val/NAME/CLASS`, and is a column of the report's table of classes.
        optimizer: from named parameters to an optimizer; not needed to evaluate.
        scheduler: how the learning rate moves; None keeps it.
        classes: names of these values, in their order; without them those of the data, or else numbers.
    """

    loss: Callable[[Any, Any], Tensor]
    metrics: Mapping[str, Metric]
    measured_anyway: Sequence[str] = ("loss", "count")
    """Names that no metric of the user's may have."""

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[[Any, Any], Tensor],
        metrics: Mapping[str, Metric] | None = None,
        optimizer: Callable[[Iterable[tuple[str, nn.Parameter]]], Optimizer] | None = None,
        scheduler: Schedule | None = None,
        classes: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.network = model
        self.loss = loss
        if taken := {*self.measured_anyway} & (metrics or {}).keys():
            raise UserError(
                f"metrics.{taken.pop()} is refused: the task logs a value of that name. Give it another name."
            )
        self.metrics = cast(Mapping[str, Metric], nn.ModuleDict(metrics or {}))
        self.optimizer = optimizer
        self.schedule = scheduler
        self.classes = tuple(classes)
        self.training_means = RunningMeans()
        self.loss_sum = SumMetric(nan_strategy="disable")  # a loss that is not a number must show
        self.count = SumMetric()
        self.values: dict[str, Tensor] = {}
        """Metrics of the last validation and the last test."""
        self.masks: Masks | None = None
        """The first images of the last test, if each pixel has a class."""

    def forward(self, inputs: Any) -> Any:
        """Return the outputs of the network."""
        return self.network(inputs)

    def training_step(self, batch: Any, batch_idx: int) -> Float[Tensor, ""]:
        """Return the mean loss of a batch; means over several are logged, see `log_means`."""
        inputs, targets = batch
        loss = self.loss(self(inputs), targets)
        self.training_means.update(len(targets), {"train/loss": loss.detach()})
        self.log_means(batch_idx)
        return loss

    def log_means(self, batch_idx: int) -> None:
        """Log means of training since they were last logged, of this device, if `trainer.log_every_n_steps` asks."""
        trainer, batches = self.trainer, batch_idx + 1
        steps_now = batches % trainer.accumulate_grad_batches == 0 or batches == trainer.num_training_batches
        if steps_now and (self.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self.log_dict(self.training_means.report())

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        """Measure a batch; return the outputs, for callbacks."""
        return self._measure(batch)

    def test_step(self, batch: Any, batch_idx: int) -> Any:
        """Measure a batch; return the outputs, for callbacks."""
        outputs = self._measure(batch)
        if batch_idx == 0:
            self.masks = first_masks(batch, outputs)
        return outputs

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        """Return the outputs for a batch of inputs, or of inputs and targets.

        Raises:
            UserError: the network cannot take the inputs.
        """
        return outputs_of(self.network, self, batch[0] if isinstance(batch, list | tuple) else batch)

    def _measure(self, batch: Any) -> Any:
        inputs, targets = batch
        outputs = self(inputs)
        self.loss_sum.update(self.loss(outputs, targets) * len(targets))
        self.count.update(len(targets))
        for metric in self.metrics.values():
            metric.update(outputs, targets)
        return outputs

    def on_validation_epoch_end(self) -> None:
        """Log `val/…`."""
        self._log_metrics("val")

    def on_test_epoch_end(self) -> None:
        """Log `test/…`."""
        self._log_metrics("test")

    def _log_metrics(self, stage: str) -> None:
        count = self.count.compute()
        values = {"loss": self.loss_sum.compute() / count, **by_class(self.metrics, self.classes)}
        for name, value in values.items():
            self.log(f"{stage}/{name}", value)
            self.values[f"{stage}/{name}"] = value
        self.log(f"{stage}/count", count, logger=False)
        for metric in (self.loss_sum, self.count, *self.metrics.values()):
            metric.reset()

    def configure_optimizers(self) -> Any:
        """Make the optimizer and, where there is one, its schedule."""
        if self.optimizer is None:
            raise RuntimeError(f"a {type(self).__name__} without optimizer cannot be trained")
        optimizer = self.optimizer(self.network.named_parameters())
        if self.schedule is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": self.schedule.configure(optimizer, self.trainer)}

    def check_facts(self, facts: Mapping[str, Any]) -> None:
        """Use the names of classes that the data give, where the task has none.

        Raises:
            UserError: the task has another number of them.
        """
        given = tuple(facts.get("classes", ()))
        if self.classes and given and len(self.classes) != len(given):
            raise UserError(
                f"task.classes has {counted(len(self.classes), 'name')}, and the data {len(given)}: "
                f"{', '.join(map(shown, given))}."
            )
        self.classes = self.classes or given

    def check_batch(self, batch: Any) -> None:
        """Refuse a batch that network, loss and metrics cannot take; called once, with the first.

        Raises:
            UserError: they cannot.
        """
        if not isinstance(batch, list | tuple) or len(batch) != 2:
            raise UserError(
                f"The data gives batches of {described(batch)}, and this task takes inputs and targets.\n"
                "Give a pair of them."
            )
        inputs, targets = batch
        outputs = outputs_of(self.network, self, inputs)
        self._try_measuring(outputs, targets, targets)

    def _try_measuring(self, outputs: Any, targets: Any, measured: Any) -> None:
        """Refuse outputs that the loss cannot compare with `targets`, or a metric with `measured`."""
        refuse_unfit(self.loss, self.loss, outputs, targets, "loss")
        for name, metric in self.metrics.items():
            refuse_unfit(metric, deepcopy(metric).update, outputs, measured, f"metrics.{name}")

    def describe(self) -> dict[str, str]:
        """Return lines for the header of a run, by name."""
        parameters = sum(parameter.numel() for parameter in self.network.parameters())
        return {"model": f"{type(self.network).__name__}, {counted(parameters, 'parameter')}"}

    def report_sections(self, data: LightningDataModule) -> list[Section]:
        """Return tables of the metrics of each class or label, and pictures where each pixel has a class."""
        tables = part_sections({name: float(value) for name, value in self.values.items()}, "Each class or label")
        return tables if self.masks is None else [*tables, mask_section(self.masks, self.classes)]
