"""The LightningModule: what happens to a batch, and what is measured."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer

from lenet_lab.data.datamodule import Batch
from lenet_lab.metrics import EvaluationMetrics
from lenet_lab.test_time import TestTime, once

RUNNING = "running_figures"
"""Key in checkpoints: sums of loss and hits since the last report."""
STEPS_A_SUM = 64  # of the running loss: enough to make the cost of a sum vanish


@dataclass(frozen=True)
class Schedule:
    """A learning-rate schedule that is yet to be given its optimizer.

    Attributes:
        make: from an optimizer to its scheduler; an argument "run_length" stands for the number of intervals in
            the whole run, which is known only then.
        interval: how often it moves.
        monitor: metric that ReduceLROnPlateau and the like watch.
    """

    make: "partial[Any]"
    interval: Literal["step", "epoch"] = "step"
    monitor: str | None = None

    def start(self, optimizer: Optimizer, steps: int, epochs: int | None) -> Any:
        """Make the scheduler of a run of so many optimizer steps and epochs."""
        length = steps if self.interval == "step" else epochs
        return self.make(
            optimizer, **{key: length for key, value in self.make.keywords.items() if value == "run_length"}
        )


class Classifier(LightningModule):
    """Trains any network that maps images to logits, with cross entropy unless told otherwise.

    Args:
        network: float (B, C, H, W) to logits (B, classes).
        classes: names, in the order of the labels.
        optimizer: from parameters to an optimizer; not needed to evaluate.
        schedule: how the learning rate moves; None keeps it.
        loss: of training, from logits (B, classes) and labels (B,) to the mean loss ().
        test_time: how validation and test show the network an image.
        description: plain data that every checkpoint carries, for `lenet_lab.checkpoint`.
        compile_mode: of torch.compile, for training batches; None leaves the network as it is.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: Sequence[str],
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        schedule: Schedule | None = None,
        loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
        test_time: TestTime = once,
        description: Mapping[str, Any] | None = None,
        compile_mode: str | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.loss = loss
        self.test_time = test_time
        self.description = description
        self._compiled: Callable[[Tensor], Tensor] | None = None
        if compile_mode is not None:
            from lenet_lab.compiled import Compiled  # only now: it takes a second

            self._compiled = Compiled(network, compile_mode)
        self.metrics = EvaluationMetrics(classes)
        self.results: dict[str, float] = {}
        """What the last validation and the last test measured (see `lenet_lab.metrics.EvaluationMetrics.compute`)."""
        self._steps_seen: list[tuple[Tensor, Tensor, Tensor]] = []  # loss (), predicted (B,), labels (B,)
        self._loss_sum: Tensor
        self._correct: Tensor
        self._steps = 0  # since the last report, as all of these
        self._images = 0
        self._resumed: dict[str, Any] | None = None  # the running figures of the run that this one goes on from

    def __setattr__(self, name: str, value: Any) -> None:
        # Lightning's own loop notes the current hook here forty times a step; nn.Module would search each for a
        # parameter, which at batch 4 is 3 % of such a step. `LeanLoop` does so a few times.
        if name == "_current_fx_name":
            self.__dict__[name] = value
        else:
            super().__setattr__(name, value)

    def forward(self, images: Float[Tensor, "B C H W"]) -> Float[Tensor, "B classes"]:
        """Give the logits of normalized images."""
        logits: Tensor = self.network(images)
        return logits

    def on_train_start(self) -> None:
        """Begin the running figures, or go on with those of a checkpoint; an earlier training may have left some."""
        self._loss_sum = torch.zeros((), device=self.device)
        self._correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self._steps_seen.clear()
        self._steps = self._images = 0
        if (resumed := self._resumed) is not None:
            self._resumed = None
            self._loss_sum += resumed["loss_sum"].to(self.device)
            self._correct += resumed["correct"].to(self.device)
            self._steps, self._images = resumed["steps"], resumed["images"]
            self._steps_seen = [tuple(part.to(self.device) for part in step) for step in resumed["steps_seen"]]

    def training_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, ""]:
        """Mean loss of a batch; every `trainer.log_every_n_steps` steps, means since the last report are logged.

        With several devices, these are of this device's batches.
        """
        images, labels = batch
        logits = (self.network if self._compiled is None else self._compiled)(images)
        loss = self.loss(logits, labels)
        # Summed on the device, many steps at once: at batch 4, `self.log` at each step costs a third of it, and waits
        # for a GPU; a sum at each step costs 3 %.
        self._steps_seen.append((loss.detach(), logits.argmax(1), labels))
        if len(self._steps_seen) == STEPS_A_SUM:
            self._add_up()
        trainer, batches = self.trainer, batch_idx + 1
        steps_now = batches % trainer.accumulate_grad_batches == 0 or batches == trainer.num_training_batches
        if steps_now and (self.global_step + 1) % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._add_up()
            self.log("train/loss", self._loss_sum / self._steps)
            self.log("train/accuracy", self._correct / self._images)
            self.log("train/learning_rate", float(trainer.optimizers[0].param_groups[0]["lr"]))
            self._loss_sum.zero_()
            self._correct.zero_()
            self._steps = self._images = 0
        return loss

    def _add_up(self) -> None:
        if self._steps_seen:
            losses, predicted, labels = zip(*self._steps_seen, strict=True)
            hits = torch.cat(predicted) == torch.cat(labels)
            self._loss_sum += torch.stack(losses).sum()
            self._correct += hits.sum()
            self._steps += len(losses)
            self._images += len(hits)
            self._steps_seen.clear()

    def validation_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B classes"]:
        """Measure a batch; gives the logits, for callbacks."""
        return self._measure(batch)

    def test_step(self, batch: Batch, batch_idx: int) -> Float[Tensor, "B classes"]:
        """Measure a batch; gives the logits, for callbacks."""
        return self._measure(batch)

    def on_validation_epoch_end(self) -> None:
        """Sum up as `val/…`."""
        self._sum_up("val")

    def on_test_epoch_end(self) -> None:
        """Sum up as `test/…`."""
        self._sum_up("test")

    def _measure(self, batch: Batch) -> Float[Tensor, "B classes"]:
        images, labels = batch
        logits = self.test_time(self.network, images)
        loss = F.cross_entropy(logits, labels) if len(labels) else logits.new_zeros(())
        self.metrics.update(logits, labels, loss)
        return logits

    def _sum_up(self, stage: str) -> None:
        metrics = self.metrics.compute(stage)
        self.metrics.reset()
        self.results.update(metrics)
        # All devices hold the same numbers here; sync_dist only tells Lightning so.
        self.log_dict({key: value for key, value in metrics.items() if key != f"{stage}/count"}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Make the optimizer and, where there is one, its schedule."""
        if self.optimizer is None:
            raise RuntimeError("a Classifier without optimizer cannot be trained")
        optimizer = self.optimizer(self.network.parameters())
        if self.schedule is None:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = {
            "scheduler": self.schedule.start(optimizer, steps, self.trainer.max_epochs),
            "interval": self.schedule.interval,
            "monitor": self.schedule.monitor,
        }
        return {"optimizer": optimizer, "lr_scheduler": scheduler}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what `evaluate` needs to rebuild the network from the file alone, and the running figures."""
        checkpoint["lenet_lab"] = self.description
        checkpoint[RUNNING] = {
            "loss_sum": self._loss_sum.clone(),
            "correct": self._correct.clone(),
            "steps": self._steps,
            "images": self._images,
            # not yet added up: a sum of other parts would differ in its last digits
            "steps_seen": [tuple(part.clone() for part in step) for step in self._steps_seen],
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with the running figures; checkpoints of other programs have none."""
        self._resumed = checkpoint.get(RUNNING)
