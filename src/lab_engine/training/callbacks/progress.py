"""The progress bar, and a line per epoch."""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.text import Text
from tqdm import tqdm

from lab_engine.artifacts.results import COUNT, measured
from lab_engine.base.wording import counted, metric
from lab_engine.training.running_means import RunningMeans
from lab_engine.training.terminal import show

MAX_SHOWN = 5  # metrics per line
RATES = ("train/learning_rate", "train/samples_per_second", "train/batches_per_second")
SECONDS_BETWEEN_UPDATES = 0.2  # of the bar


class Progress(Callback):
    """Shows the progress of training: a bar on a terminal, and lines of text everywhere.

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
        self.percent = percent
        self.monitor = monitor
        self.seconds = 0.0
        self.steps = 0
        self._bar: tqdm[None] | None = None
        self._epoch = ""
        self._batches = 0
        self._epoch_seconds = 0.0
        self._started: float | None = None  # None while the clock is stopped
        self._next_update = 0.0
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
            self._start_bar(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the epoch's bar."""
        self._batches = 0
        self._epoch_seconds = 0.0
        self._start_bar(trainer)

    def _start_bar(self, trainer: Trainer) -> None:
        """Show the bar and start the clock; make sure that an epoch logs at least once."""
        if math.isfinite(trainer.num_training_batches):
            steps = max(int(trainer.num_training_batches) // trainer.accumulate_grad_batches, 1)
            trainer.log_every_n_steps = min(trainer.log_every_n_steps, steps)  # type: ignore[attr-defined]
        last = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        self._epoch = f"epoch {trainer.current_epoch + 1}/{last}"
        if trainer.is_global_zero and sys.stdout.isatty():
            self._bar = tqdm(
                total=int(batches) if math.isfinite(batches := trainer.num_training_batches) else None,
                initial=self._batches,
                desc=self._epoch,
                unit=" batches",
                file=sys.stdout,
                leave=False,
                dynamic_ncols=True,
            )
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the batch; log the speed after a step that is logged."""
        self._batches += 1
        if self._bar is not None and time.perf_counter() > self._next_update:
            self._bar.update(self._batches - self._bar.n)
            self._next_update = time.perf_counter() + SECONDS_BETWEEN_UPDATES
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
        """Stop the clock."""
        self._epoch_seconds, self._started = self._clock(), None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the metrics for the line of the epoch, and start the clock again."""
        if trainer.state.fn == TrainerFn.FITTING:
            values = measured(trainer)
            monitored = self.monitor if self.monitor in values else ""
            chosen = [each for each in values if each in trainer.progress_bar_metrics] or list(values)
            names = [each for each in chosen if each.count("/") == 1 and each != f"val/{COUNT}"][:MAX_SHOWN]
            names += [monitored] if monitored and monitored not in names else []
            self._validation = f"  val {self._format(names, values)}" if names else ""
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove the bar and print a line for the epoch."""
        self._epoch_seconds = self._clock()
        self.seconds += self._epoch_seconds
        steps, self.steps = trainer.global_step - self.steps, trainer.global_step
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        each = 1000 * self._epoch_seconds / max(steps, 1)
        took = f"  {counted(steps, 'step')}, {self._epoch_seconds:.1f} s, {each:.2f} ms each"
        training = self._training(trainer)
        self._print(f"{self._epoch}{f'  train {training}' if training else ''}{self._validation}{took}")
        self._validation = ""
        self._batches, self._epoch_seconds, self._started = 0, 0.0, None

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print which limit has ended training, if both `max_steps` and `max_epochs` are set."""
        if trainer.max_steps != -1 and trainer.max_epochs is not None:
            by_steps = trainer.global_step >= trainer.max_steps
            limit = f"trainer.max_steps={trainer.max_steps}" if by_steps else f"trainer.max_epochs={trainer.max_epochs}"
            if by_steps or trainer.current_epoch >= trainer.max_epochs:
                self._print(f"ended by {limit}, after {counted(trainer.global_step, 'step')}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _print(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        show(Text(line))
        if self._bar is not None:
            self._bar.refresh()
