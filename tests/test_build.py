"""The parts of a run."""

from typing import Any

from lightning.pytorch import Callback

from lenet_lab.build import STEP_HOOKS, leave_out_empty_hooks


class Counts(Callback):
    def on_train_batch_end(self, *arguments: Any) -> None:
        pass


class CountsMore(Counts):
    def __init__(self) -> None:
        self.on_after_backward = lambda *arguments: None


def test_only_hooks_that_do_nothing_are_left_out() -> None:
    callbacks = [Counts(), CountsMore()]
    leave_out_empty_hooks(callbacks)
    filled = [{name for name in STEP_HOOKS if getattr(callback, name) is not None} for callback in callbacks]
    assert filled == [{"on_train_batch_end"}, {"on_train_batch_end", "on_after_backward"}]
    assert callable(callbacks[0].on_validation_end)
