"""Bars for training, validation, test and prediction, and a line per epoch."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console, ConsoleOptions
from rich.filesize import decimal
from rich.text import Text

from lab_engine.artifacts.results import COUNT, measured
from lab_engine.base.bar import Bar
from lab_engine.base.wording import counted, metric
from lab_engine.training.callbacks.learning_rates import rates_of
from lab_engine.training.running_means import RunningMeans
from lab_engine.training.terminal import show

MAX_SHOWN = 5  # metrics per line
RATES = ("train/learning_rate", "train/samples_per_second", "train/batches_per_second")


class EvaluationBar(Callback):
    """Shows a bar for validation, test and prediction."""

    def __init__(self) -> None:
        self._bar: Bar | None = None

    def start_bar(self, label: str, batches: float, **options: Any) -> None:
        """Replace the bar by another."""
        self.close_bar()
        self._bar = Bar(label, batches if math.isfinite(batches) else None, **options)

    def close_bar(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a bar."""
        epoch = f"{epoch_of(trainer)}, " if trainer.state.fn == TrainerFn.FITTING else ""
        self.start_bar(f"{epoch}validation", sum(trainer.num_val_batches))

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a bar."""
        self.start_bar("test", sum(trainer.num_test_batches))

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start a bar."""
        self.start_bar("prediction", sum(trainer.num_predict_batches))

    def on_validation_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        if self._bar is not None:
            self._bar.advance()

    def on_test_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        self.on_validation_batch_end()

    def on_predict_batch_end(self, *_: Any) -> None:
        """Count a batch."""
        self.on_validation_batch_end()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar."""
        self.close_bar()

    on_test_end = on_predict_end = on_validation_end

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        self.close_bar()


def epoch_of(trainer: Trainer) -> str:
    """Return the present epoch and the number of them, such as "epoch 2/10"."""
    last = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
    return f"epoch {trainer.current_epoch + 1}/{last}"


class _EpochLine:
    """The line of an epoch. Its times are left out on a terminal that is too narrow for them."""

    def __init__(self, reached: str, took: str) -> None:
        self.reached = reached
        self.took = took

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        whole = self.reached + self.took
        yield Text(self.reached if console.is_terminal and len(whole) > options.max_width else whole)


class Progress(EvaluationBar):
    """Shows the progress of a run: a bar on a terminal, and a line per epoch everywhere.

    Args:
        percent: names, without the stage, of metrics that are fractions and shown in percent.
        monitor: metric that the line of an epoch shows in any case, beside those that the task logs with
            `prog_bar=True`, or the first ones where there are none.

    Attributes:
        seconds: spent in training in all finished epochs, without validation.
        steps: optimizer steps in all finished epochs.
        means: of training; `build_callbacks` sets it.
    """

    def __init__(self, percent: Sequence[str] = (), monitor: str = "") -> None:
        super().__init__()
        self.percent = percent
        self.monitor = monitor
        self.seconds = 0.0
        self.steps = 0
        self._batches = 0
        self._epoch_seconds = 0.0
        self._started: float | None = None  # None while the clock is stopped
        self._reported = 0
        self.means = RunningMeans()
        self._validation = ""

    def state_dict(self) -> dict[str, Any]:
        """Return the counters that a resumed run continues."""
        return {
            "seconds": self.seconds,
            "steps": self.steps,
            "batches": self._batches,
            "epoch_seconds": self._clock(),
            "reported": self._reported,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the counters."""
        self.seconds, self.steps = state_dict["seconds"], state_dict["steps"]
        self._batches, self._epoch_seconds = state_dict["batches"], state_dict["epoch_seconds"]
        self._reported = state_dict["reported"]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue a resumed epoch: Lightning does not call `on_train_epoch_start` for it again."""
        if self._batches:
            self._start_epoch(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's bar and clock."""
        self._batches = 0
        self._epoch_seconds = 0.0
        self._start_epoch(trainer)

    def _start_epoch(self, trainer: Trainer) -> None:
        """Start the bar and the clock; make sure that an epoch logs at least once."""
        if math.isfinite(trainer.num_training_batches):
            steps = max(int(trainer.num_training_batches) // trainer.accumulate_grad_batches, 1)
            trainer.log_every_n_steps = min(trainer.log_every_n_steps, steps)  # type: ignore[attr-defined]
        self._start_training_bar(trainer)
        self._started = time.perf_counter()

    def _start_training_bar(self, trainer: Trainer) -> None:
        facts = partial(self._facts, trainer)
        self.start_bar(epoch_of(trainer), trainer.num_training_batches, done=self._batches, facts=facts)

    def _facts(self, trainer: Trainer) -> list[str]:
        """Return what the bar shows of training: loss, or another mean, of the epoch so far, rate, speed, memory."""
        sums = list(self.means.epoch_sums().items())[:1]
        means = {name: float(total) / samples for name, (total, samples) in sums}
        facts = [self._format(list(means), means)] if means else []
        facts += [f"lr {rate:.3g}" for rate in list(rates_of(trainer.optimizers).values())[:1]]
        name, speed = self._rate(trainer)
        facts.append(f"{speed:,.0f} {name.partition('/')[2].removesuffix('_per_second')}/s")
        device = trainer.strategy.root_device
        if device.type == "cuda":
            facts.append(f"GPU {decimal(torch.cuda.memory_reserved(device))}")
        return facts

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; log the speed after a step that is logged."""
        self._batches += 1
        if self._bar is not None:
            self._bar.update(self._batches)
        step = trainer.global_step  # of accumulated batches, several have the same
        if step != self._reported and step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._reported = step
            pl_module.log(*self._rate(trainer))

    def _rate(self, trainer: Trainer) -> tuple[str, float]:
        """Return name and value of the training speed in this epoch, of all devices, without validation."""
        batch_size = getattr(trainer.datamodule, "batch_size", None)  # type: ignore[attr-defined]
        rate = self._batches / self._clock()
        if not isinstance(batch_size, int):
            return "train/batches_per_second", rate
        return "train/samples_per_second", rate * batch_size * trainer.world_size

    def _training(self, trainer: Trainer) -> str:
        """Format the means of training, or what else the task has logged of it if there are none."""
        values = self.means.means or {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if name.startswith("train/") and not name.startswith(RATES)
        }
        return self._format(list(values)[:MAX_SHOWN], values)

    def _format(self, names: Sequence[str], values: Mapping[str, float]) -> str:
        return ", ".join(f"{each.partition('/')[2]} {metric(each, values[each], self.percent)}" for each in names)

    def _clock(self) -> float:
        """Return the seconds of training in this epoch, without validation."""
        return self._epoch_seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock, and start a bar."""
        self._epoch_seconds, self._started = self._clock(), None
        super().on_validation_start(trainer, pl_module)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics for the line of the epoch, and resume the bar and the clock of training."""
        super().on_validation_end(trainer, pl_module)
        if trainer.state.fn == TrainerFn.FITTING:
            values = measured(trainer)
            monitored = self.monitor if self.monitor in values else ""
            chosen = [each for each in values if each in trainer.progress_bar_metrics] or list(values)
            names = [each for each in chosen if each.count("/") == 1 and each != f"val/{COUNT}"][:MAX_SHOWN]
            names += [monitored] if monitored and monitored not in names else []
            self._validation = f"  val {self._format(names, values)}" if names else ""
            self._start_training_bar(trainer)
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar and print a line for the epoch."""
        self._epoch_seconds = self._clock()
        self.seconds += self._epoch_seconds
        steps, self.steps = trainer.global_step - self.steps, trainer.global_step
        self.close_bar()
        each = 1000 * self._epoch_seconds / max(steps, 1)
        took = f"  {counted(steps, 'step')}, {self._epoch_seconds:.1f} s, {each:.2f} ms each"
        training = self._training(trainer)
        show(_EpochLine(f"{epoch_of(trainer)}{f'  train {training}' if training else ''}{self._validation}", took))
        self._validation = ""
        self._batches, self._epoch_seconds, self._started = 0, 0.0, None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print which limit has ended training, if both `max_steps` and `max_epochs` are set."""
        if trainer.max_steps != -1 and trainer.max_epochs is not None:
            by_steps = trainer.global_step >= trainer.max_steps
            limit = f"trainer.max_steps={trainer.max_steps}" if by_steps else f"trainer.max_epochs={trainer.max_epochs}"
            if by_steps or trainer.current_epoch >= trainer.max_epochs:
                show(Text(f"ended by {limit}, after {counted(trainer.global_step, 'step')}"))
