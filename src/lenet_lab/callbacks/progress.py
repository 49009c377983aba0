"""The progress bar, the running loss, and a line for each epoch."""

import sys
import time
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from rich.text import Text
from tqdm import tqdm

from lenet_lab.terminal import show

SECONDS_BETWEEN_UPDATES = 0.2  # of the bar; a step in between costs it one look at the clock


class Progress(Callback):
    """Shows how training goes: a bar where there is a terminal, and plain lines everywhere.

    Attributes:
        seconds: time spent in training steps so far, validation left out.
        steps: training batches so far.
        loss: the running loss, as last reported; not a number before.
    """

    def __init__(self) -> None:
        self.seconds = 0.0
        self.steps = 0
        self._bar: tqdm[None] | None = None
        self._epoch = ""
        self._epoch_steps = 0
        self._epoch_seconds = 0.0
        self._started: float | None = None  # None while the clock is stopped
        self._next_update = 0.0
        self._reported = 0
        self.loss = float("nan")
        self._validation = ""

    def state_dict(self) -> dict[str, Any]:
        """What a run that continues goes on from."""
        return {
            "seconds": self.seconds,
            "steps": self.steps,
            "epoch_steps": self._epoch_steps,
            "epoch_seconds": self._clock(),
            "reported": self._reported,
            "loss": self.loss,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there; a file of an older version was written at the end of an epoch and has less."""
        self.seconds, self.steps = state_dict["seconds"], state_dict["steps"]
        self._epoch_steps, self._epoch_seconds = state_dict.get("epoch_steps", 0), state_dict.get("epoch_seconds", 0.0)
        self._reported, self.loss = state_dict.get("reported", 0), state_dict.get("loss", self.loss)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take up an epoch that had begun: Lightning does not begin it again."""
        if self._epoch_steps:
            self._begin(trainer)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin the epoch's bar."""
        self._epoch_steps = 0
        self._epoch_seconds = 0.0
        self._begin(trainer)

    def _begin(self, trainer: Trainer) -> None:
        last = trainer.max_epochs if trainer.max_epochs and trainer.max_epochs > 0 else "?"
        self._epoch = f"epoch {trainer.current_epoch + 1}/{last}"
        if trainer.is_global_zero and sys.stdout.isatty():
            self._bar = tqdm(
                total=int(trainer.num_training_batches),
                initial=self._epoch_steps,
                desc=self._epoch,
                unit=" steps",
                file=sys.stdout,
                leave=False,
                dynamic_ncols=True,
            )
        self._started = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count the step; report the running loss when the module has just logged it."""
        self._epoch_steps += 1
        if self._bar is not None and time.perf_counter() > self._next_update:
            self._bar.update(self._epoch_steps - self._bar.n)
            self._next_update = time.perf_counter() + SECONDS_BETWEEN_UPDATES
        step = trainer.global_step  # one of several batches where gradients are accumulated
        if step != self._reported and step % trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            self._reported = step
            self.loss = float(trainer.callback_metrics["train/loss"])
            pl_module.log("train/images_per_second", self._images_per_second(trainer))
            if self._epoch_steps < trainer.num_training_batches:  # else the line of the epoch says it
                position = f"step {self._epoch_steps:,}/{trainer.num_training_batches:,}"
                self._say(f"{self._epoch}  {position}  loss {self.loss:.3f}")

    def _images_per_second(self, trainer: Trainer) -> float:
        """Of all devices, since the epoch began; validation left out."""
        images = self._epoch_steps * trainer.datamodule.batch_size * trainer.world_size  # type: ignore[attr-defined]
        return float(images / self._clock())

    def _clock(self) -> float:
        """Seconds of the epoch so far, validation left out."""
        return self._epoch_seconds + (0.0 if self._started is None else time.perf_counter() - self._started)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock."""
        self._epoch_seconds, self._started = self._clock(), None

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep what was measured, and start the clock again."""
        if trainer.state.fn == TrainerFn.FITTING:
            metrics = trainer.callback_metrics
            accuracy, loss = float(metrics["val/accuracy"]), float(metrics["val/loss"])
            self._validation = f"  val loss {loss:.3f}, accuracy {accuracy:.2%}"
        self._started = time.perf_counter()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take the bar away and sum the epoch up in a line."""
        self._epoch_seconds = self._clock()
        self.seconds += self._epoch_seconds
        self.steps += self._epoch_steps
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        step = 1000 * self._epoch_seconds / max(self._epoch_steps, 1)
        took = f"  {self._epoch_steps:,} steps, {self._epoch_seconds:.1f} s, {step:.2f} ms each"
        self._say(f"{self._epoch}  train loss {self.loss:.3f}{self._validation}{took}")
        self._validation = ""
        self._epoch_steps, self._epoch_seconds, self._started = 0, 0.0, None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave the terminal tidy."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.clear()
        show(Text(line))
        if self._bar is not None:
            self._bar.refresh()
