"""One of several jobs that train together: all that is its own, and its run folder."""

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from copy import deepcopy
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything
from rich.text import Text
from torch import Tensor
from torch.optim.lr_scheduler import ReduceLROnPlateau

from lenet_lab import terminal
from lenet_lab.build import build_classifier, build_data, build_trainer, limited
from lenet_lab.callbacks.dashboard import Dashboard
from lenet_lab.callbacks.finite import Finite, Step, all_finite, leave, what_is_wrong
from lenet_lab.checkpoint import KEY, TOGETHER, read_checkpoint, take_up_last
from lenet_lab.checkpoint_io import write_checkpoint
from lenet_lab.curves import add_to_curves, begin_curves
from lenet_lab.data.datamodule import Batch, ImageDataModule
from lenet_lab.environment import note_environment
from lenet_lab.errors import UserError
from lenet_lab.instantiate import build_each
from lenet_lab.loggers.summary import begin_at, log_hyperparameters
from lenet_lab.seeding import CPU, epoch_seed, has_drawn, random_state, seed_all, set_random_state
from lenet_lab.sweeps.together import LAST
from lenet_lab.train import conclude


class Member:
    """A job with its network, optimizer, schedule, order of images, random numbers, curves and checkpoints.

    Everything is made as `lenet_lab.train.run` makes it, from the same seed in the same order. Lightning's Trainer
    reads the settings, holds the loggers and measures at the end, but does not train.

    Args:
        config: of the job, checked.
        like: the data of another member, whose images are used.

    Attributes:
        epochs: trained so far.
        steps: likewise.
        seconds: in training steps so far; a member's share of the time in which all take theirs.
        finite: the callback of this name, if there is one.
        failure: what ended this member before its time; empty if nothing did.
    """

    def __init__(self, config: dict[str, Any], like: ImageDataModule | None = None) -> None:
        self.config = config
        self.folder = Path(config["folder"])
        seed_everything(config["seed"], verbose=False)
        self.data = build_data(config)
        if like is not None:
            self.data.share(like)
        before = random_state(CPU)
        self.data.setup()
        self.data_is_drawn = has_drawn(before)
        self.classifier = build_classifier(config, self.data)
        self.network = self.classifier.network
        loggers = build_each(config["logger"], "logger")
        callbacks = build_each(config["callbacks"], "callbacks")
        self.trainer = build_trainer(config, self.data, callbacks, loggers)
        self._dashboards = [each for each in callbacks if isinstance(each, Dashboard)]
        self.finite = next((each for each in callbacks if isinstance(each, Finite)), None)
        self.failure = ""
        self.device: torch.device = self.trainer.strategy.root_device
        self.log_every: int = self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        self.epochs, self.steps, self.seconds = 0, 0, 0.0
        self.train_loss = math.nan  # as last reported
        self.loss_sum = torch.zeros((), device=self.device)  # since then, as the next two
        self.correct = torch.zeros((), dtype=torch.int64, device=self.device)
        self.images = 0
        self._rate = math.nan  # of the last step
        self._best = math.nan
        kept = [each for each in config["callbacks"].values() if each is not None]
        self._kept = {each["filename"]: each for each in kept if "filename" in each}
        self._keeps_last = any(each["_target_"] == LAST for each in kept)
        self._random = random_state(self.device)

    def start(self, members: int = 1) -> None:
        """Move to the device, say what will run, and go on from the last checkpoint if there is one.

        Args:
            members: how many there are: all take their time for pictures from the same time.
        """
        self.classifier.to(self.device)
        self.steps_an_epoch = limited(len(self.data.train_dataloader()), self.trainer.limit_train_batches)
        if self.steps_an_epoch == 0:
            limit = self.trainer.limit_train_batches
            raise UserError(f"trainer.limit_train_batches={limit} leaves no batch of an epoch to train on.")
        self.optimizer = self.classifier.optimizer(self.network.parameters())  # type: ignore[misc]
        schedule, epochs = self.classifier.schedule, self.config["trainer"]["max_epochs"]
        length = epochs * self.steps_an_epoch
        self.scheduler: Any = None if schedule is None else schedule.start(self.optimizer, length, epochs)
        with self.log():
            terminal.show_run("train", self.config, self.data, self.classifier, self.trainer)
            self._continue()
            note_environment(self.folder, "train", self.device, self.config, (self.data.train, self.data.test))
            begin_curves(self.folder / "curves.csv", self.steps)
            begin_at(self.trainer.loggers, self.steps)
            log_hyperparameters(self.trainer.loggers, self.config)
            for dashboard in self._dashboards:
                if dashboard.share < 1:
                    dashboard.share /= members
                dashboard.open(self.trainer.loggers, self.data, first=True)
                dashboard.begin(self.classifier)

    def log(self) -> AbstractContextManager[None]:
        """Let `terminal.show` write to the log of this job alone."""
        return terminal.only_in(self.folder / "train.log")

    def batches(self) -> Iterator[Batch]:
        """Give the training batches of the epoch that begins: float (B, C, H, W), int64 (B,), on the device."""
        loader = self.data.train_dataloader()
        loader.epoch = lambda: self.epochs
        with self._own_numbers():
            seed_all(epoch_seed(self.config["seed"], self.epochs, rank=0))
        on_cpu = self.device.type == "cpu"
        if on_cpu:  # as in `ImageDataModule`: many small batches at once
            loader.prepare = self._prepare
        for images, labels in islice(loader, self.steps_an_epoch):
            yield images if on_cpu else self._prepare(images.to(self.device, non_blocking=True)), labels.to(self.device)

    def _prepare(self, images: Tensor) -> Tensor:
        with self._own_numbers():
            return self.data.prepare(images, training=True)

    @contextmanager
    def _own_numbers(self) -> Iterator[None]:
        """Draw from this job's random numbers, as if no other were drawing."""
        of_others = random_state(self.device)
        set_random_state(self._random, self.device)
        try:
            yield
        finally:
            self._random = random_state(self.device)
            set_random_state(of_others, self.device)

    def step(self) -> None:
        """Move the weights by the gradients that they have."""
        self._rate = float(self.optimizer.param_groups[0]["lr"])
        self.optimizer.step()
        self.steps += 1
        if self.scheduler is not None:
            self._move("step")

    def _move(self, interval: str, metrics: Mapping[str, float] | None = None) -> None:
        """Move the learning rate if it is time: schedules that watch a metric when there are metrics."""
        schedule = self.classifier.schedule
        watches = isinstance(self.scheduler, ReduceLROnPlateau)
        if schedule is None or schedule.interval != interval or watches != (metrics is not None):
            return
        self.scheduler.step(*([metrics[schedule.monitor]] if metrics is not None and schedule.monitor else []))

    def report(self, loss: float, accuracy: float, images_per_second: float) -> None:
        """Take note of the mean loss and the accuracy since the last report."""
        self.train_loss = loss
        self._to_loggers(
            {
                "train/loss": loss,
                "train/accuracy": accuracy,
                "train/learning_rate": self._rate,
                "train/images_per_second": images_per_second,
            }
        )

    def fail(self, step: Step, wrong: str = "") -> None:
        """Take note that its loss, or what `wrong` says, is not finite; the other members go on."""
        if not self.failure:
            file = self.folder / "bad_batch.pt"
            self.failure = str(leave(file, step, self.network.state_dict(), wrong or what_is_wrong(step)))
            with self.log():
                terminal.show(Text(f"error: {self.failure}"))

    def check_weights(self, last: Step) -> None:
        """Fail if the last step has spoiled them: no checkpoint is to hold such."""
        if self.finite is not None and not all_finite(self.network):
            self.fail(last, f"after step {last.number} not all weights are finite")

    def end_epoch(self) -> None:
        """Validate if it is time, keep the weights if they are the best so far, and write the last checkpoint."""
        self._move("epoch")
        line = f"epoch {self.epochs + 1}/{self.config['trainer']['max_epochs']}  train loss {self.train_loss:.3f}"
        metrics: dict[str, float] = {}
        if (self.epochs + 1) % self.trainer.check_val_every_n_epoch == 0:  # type: ignore[operator]
            metrics = self._validate()
            self._to_loggers({key: value for key, value in metrics.items() if key != "val/count"})
            line += f"  val loss {metrics['val/loss']:.3f}, accuracy {metrics['val/accuracy']:.2%}"
        self.epochs += 1
        with self.log():
            terminal.show(Text(line))
        if metrics:
            known = {} if math.isnan(self.train_loss) else {"train/loss": self.train_loss}
            add_to_curves(self.folder / "curves.csv", {**metrics, **known, "epoch": self.epochs, "step": self.steps})
            self._save_best(metrics)
            self._move("epoch", metrics)
        if self._keeps_last:
            self._save("last")

    def _validate(self) -> dict[str, float]:
        self.network.eval()
        loader = self.data.val_dataloader()
        with torch.no_grad():
            for dashboard in self._dashboards:
                dashboard.look(self.classifier, dashboard.is_due())
            for images, labels in islice(loader, limited(len(loader), self.trainer.limit_val_batches)):
                batch = self.data.prepare(images.to(self.device), training=False), labels.to(self.device)
                logits = self.classifier.validation_step(batch, 0)
                for dashboard in self._dashboards:
                    dashboard.see(batch, logits)
            for dashboard in self._dashboards:
                dashboard.step = self.steps - 1
                dashboard.show("val", self.classifier)
        metrics = self.classifier.metrics.compute("val")
        self.classifier.metrics.reset()
        return metrics

    def _to_loggers(self, metrics: dict[str, float]) -> None:
        for logger in self.trainer.loggers:  # with the step and the key that Lightning adds
            logger.log_metrics({**metrics, "epoch": self.epochs}, self.steps - 1)
            logger.save()

    def _save_best(self, metrics: Mapping[str, float]) -> None:
        if "best" not in self._kept:
            return
        sign = 1 if self._kept["best"]["mode"] == "max" else -1
        score = sign * metrics[self._kept["best"]["monitor"]]
        if math.isnan(score):  # kept, but only until there is a better one: as ModelCheckpoint does it
            score = -math.inf
        if math.isnan(self._best) or score > self._best:
            self._best = score
            self._save("best")

    def _path(self, name: str) -> Path:
        return self.folder / "checkpoints" / f"{name}.ckpt"

    def _save(self, name: str) -> None:
        checkpoint = {
            "epoch": self.epochs - 1,  # numbered as by Lightning
            "global_step": self.steps,
            # cloned, or the whole stack would be saved
            "state_dict": {key: value.clone() for key, value in self.classifier.state_dict().items()},
            "optimizer_states": [self.optimizer.state_dict()],
            "lr_schedulers": [] if self.scheduler is None else [self.scheduler.state_dict()],
            KEY: self.classifier.description,
            TOGETHER: {
                "epochs": self.epochs,
                "steps": self.steps,
                "seconds": self.seconds,
                "train_loss": self.train_loss,
                "loss_sum": self.loss_sum.clone(),
                "correct": self.correct.clone(),
                "images": self.images,
                "best": self._best,
            },
        }
        for logger in self.trainer.loggers:
            logger.save()
        write_checkpoint(checkpoint, self._path(name), keep_previous=name == "last")

    def _continue(self) -> None:
        last = take_up_last(self.folder)
        if last is None:
            return
        checkpoint = read_checkpoint(last)
        self.classifier.load_state_dict(checkpoint["state_dict"])
        # copied: both go on with the very tensors and lists that they are given
        self.optimizer.load_state_dict(deepcopy(checkpoint["optimizer_states"][0]))
        if self.scheduler is not None:
            self.scheduler.load_state_dict(deepcopy(checkpoint["lr_schedulers"][0]))
        state = checkpoint[TOGETHER]
        self.epochs, self.steps, self.seconds = state["epochs"], state["steps"], state["seconds"]
        self.train_loss, self._best = state["train_loss"], state["best"]
        self.loss_sum = state["loss_sum"].to(self.device)
        if "correct" in state:
            self.correct, self.images = state["correct"].to(self.device), state["images"]
        else:  # of an earlier version: begin the running figures anew
            self.loss_sum.zero_()

    def conclude(self) -> dict[str, Any]:
        """Measure the chosen checkpoint as `lenet_lab.train` does, and write `metrics.json`."""
        for logger in self.trainer.loggers:
            logger.finalize("success")
        best = "" if math.isnan(self._best) else str(self._path("best"))
        with self.log():
            return conclude(self.config, self.data, self.classifier, self.trainer, best, self.seconds, self.steps)
