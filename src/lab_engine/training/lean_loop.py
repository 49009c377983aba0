"""Lightning's loop over the batches of an epoch, without the features that a plain run does not use.

With small batches these features take a large part of a step. Counters, checkpoints and numbers are the same as
Lightning's, so a run that was trained by one loop can be resumed by the other.

It follows Lightning 2.6.6 and uses its private names: compare the two before a newer Lightning is allowed.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.fetchers import _DataFetcher, _PrefetchDataFetcher
from lightning.pytorch.loops.optimization.automatic import Closure, ClosureResult
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

STEP_HOOKS = (
    "on_train_batch_start",
    "on_before_zero_grad",
    "on_before_backward",
    "on_after_backward",
    "on_before_optimizer_step",
    "on_train_batch_end",
)
"""Hooks of callbacks and modules that are called in each step."""

TRANSFER_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")

UNSUPPORTED_HOOKS = (
    "optimizer_step",
    "optimizer_zero_grad",
    "backward",
    "configure_gradient_clipping",
    "on_train_batch_start",  # a module's may end the epoch
)
"""Hooks of a module that `LeanLoop` does not support; a module that overrides one is left to Lightning's loop."""


def use_lean_loop(trainer: Trainer) -> None:
    """Replace the epoch loop of `trainer.fit` by a `LeanLoop`."""
    original = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = LeanLoop(trainer, original.min_steps, original.max_steps)


def overrides(owner: Any, base: type, name: str) -> bool:
    """Return whether `owner` overrides the method `name` of `base`."""
    return name in vars(owner) or getattr(type(owner), name) is not getattr(base, name)


def is_idle(callback: Callback, name: str) -> bool:
    """Return whether the step hook `name` of `callback` does nothing."""
    if isinstance(callback, ModelCheckpoint) and name == "on_train_batch_end":
        saves_between_epochs = callback._every_n_train_steps or callback._train_time_interval is not None
        return not saves_between_epochs and not overrides(callback, ModelCheckpoint, name)
    return not overrides(callback, Callback, name)


class LeanLoop(_TrainingEpochLoop):
    """Runs plain steps itself; other steps, and the first step after a checkpoint, run in Lightning's loop.

    A step is plain with one device or DDP, float32 or bfloat16, an optimizer step for each batch, no clipping and no
    profiler. Callbacks, `self.log`, schedules, limits and validation work as in Lightning's loop. Signals are left to
    `lab_engine.base.signals`: in Lightning's loop the devices exchange them in each step.
    """

    _plain = False
    _due = True  # logging, validation, stopping or saving is due after this step

    def on_run_start(self, data_fetcher: _DataFetcher) -> None:
        """Determine, once per epoch, whether steps are plain and which hooks are overridden."""
        super().on_run_start(data_fetcher)
        trainer, module = self.trainer, self.trainer.lightning_module
        precision, selector = trainer.precision_plugin, trainer._data_connector._datahook_selector
        assert selector is not None  # noqa: S101 - made when training starts
        self._plain = (
            module.automatic_optimization
            and type(data_fetcher) is _PrefetchDataFetcher
            and type(trainer.strategy) in (SingleDeviceStrategy, DDPStrategy)
            and getattr(trainer.strategy, "_ddp_comm_state", None) is None  # it may average weights after a step
            and (type(precision) is Precision or (type(precision) is MixedPrecision and precision.scaler is None))
            and type(trainer.profiler) is PassThroughProfiler
            and trainer.accumulate_grad_batches == 1
            and not trainer.gradient_clip_val
            and not trainer.fast_dev_run
            and not self.automatic_optimization._skip_backward
            and not any(overrides(module, LightningModule, name) for name in UNSUPPORTED_HOOKS)
        )
        self._hooks: dict[str, list[Callable[..., Any]]] = {}  # those that are overridden; most are not
        for name in STEP_HOOKS:
            callbacks = [each for each in trainer.callbacks if not is_idle(each, name)]
            self._hooks[name] = [partial(getattr(each, name), trainer, module) for each in callbacks]
            if overrides(module, LightningModule, name):
                self._hooks[name].append(getattr(module, name))
        self._transfer = [getattr(selector.get_instance(name), name) for name in TRANSFER_HOOKS]
        self._with_index = "batch_idx" in self._build_kwargs({}, None, 0)  # type: ignore[arg-type]
        self._always_due = trainer.val_check_batch not in (float("inf"), trainer.num_training_batches) or any(
            each.reduce_on_plateau for each in trainer.lr_scheduler_configs
        )

    def advance(self, data_fetcher: _DataFetcher) -> None:
        """Run a training step."""
        self._due = True
        if not self._plain or self.restarting:
            super().advance(data_fetcher)
            return
        trainer, progress, connector = self.trainer, self.batch_progress, self.trainer._logger_connector
        batch, _, _ = next(data_fetcher)
        index = self.batch_idx + 1
        progress.is_last_batch = data_fetcher.done
        before, move, after = self._transfer
        batch = after(move(before(batch, 0), trainer.strategy.root_device, 0), 0)
        progress.increment_ready()
        connector.on_batch_start(batch)
        self._call("on_train_batch_start", batch, index)
        progress.increment_started()
        outputs = self._optimize(batch, index)
        progress.increment_processed()
        if trainer.lr_scheduler_configs:
            self.update_lr_schedulers("step", update_plateau_schedulers=False)
            if self._num_ready_batches_reached():
                self.update_lr_schedulers("epoch", update_plateau_schedulers=False)
        self._call("on_train_batch_end", outputs, batch, index)
        self._due = (
            self._always_due
            or self._is_training_done
            or trainer.should_stop
            or trainer.received_sigterm
            or (self._batches_that_stepped + 1) % trainer.log_every_n_steps == 0
        )
        if self._due:
            connector.on_batch_end()  # collect logged values; on other steps the Trainer does so when asked for them
        progress.increment_completed()
        if self._due:
            connector.update_train_step_metrics()

    def on_advance_end(self, data_fetcher: _DataFetcher) -> None:
        """Validate, stop or save, if due."""
        if self._due:
            super().on_advance_end(data_fetcher)
        else:
            self._batches_that_stepped += 1

    def _optimize(self, batch: Any, index: int) -> dict[str, Any]:
        """Run an optimizer step, as `_AutomaticOptimization.run` does."""
        optimizer, step = self.trainer.optimizers[0], self.automatic_optimization.optim_progress.optimizer.step
        step.increment_ready()
        optimizer.step(partial(self._closure, batch, index, optimizer))
        step.increment_completed()
        return {} if self._result.loss is None else self._result.asdict()

    @torch.enable_grad()
    def _closure(self, batch: Any, index: int, optimizer: torch.optim.Optimizer) -> Tensor | None:
        """Compute the loss and the gradients; some optimizers call this more than once per step."""
        trainer, zero_grad = self.trainer, self.automatic_optimization.optim_progress.optimizer.zero_grad
        trainer.lightning_module._current_fx_name = "training_step"  # for `self.log`
        output = trainer.strategy.training_step(*((batch, index) if self._with_index else (batch,)))
        trainer.lightning_module._current_fx_name = None
        if output is None and trainer.world_size > 1:
            raise RuntimeError("training_step has returned None: with several devices no step can be skipped.")
        if isinstance(output, Tensor):  # skip from_training_step_output: its division by 1 adds a node to the graph
            self._result = ClosureResult(output)
        else:
            self._result = ClosureResult.from_training_step_output(output)
        zero_grad.increment_ready()
        self._call("on_before_zero_grad", optimizer)
        zero_grad.increment_started()
        optimizer.zero_grad()
        zero_grad.increment_completed()
        if self._result.closure_loss is not None:
            self._call("on_before_backward", self._result.closure_loss)
            self._result.closure_loss.backward()  # type: ignore[no-untyped-call]
            self._call("on_after_backward")
        else:
            Closure.warning_cache.warn("`training_step` returned `None`. If this was on purpose, ignore this warning.")
        self._call("on_before_optimizer_step", optimizer)
        return self._result.loss

    def _call(self, name: str, *arguments: Any) -> None:
        for hook in self._hooks[name]:
            self.trainer.lightning_module._current_fx_name = name  # for `self.log`
            hook(*arguments)
            self.trainer.lightning_module._current_fx_name = None
