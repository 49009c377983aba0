"""The lean loop leaves exactly what Lightning's own leaves, and what a plain PyTorch loop computes."""

from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loops.optimization.automatic import Closure
from lightning.pytorch.loops.training_epoch_loop import _TrainingEpochLoop
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau

from lab_engine.config.schedule import Schedule
from lab_engine.training.lean_loop import LeanLoop, use_lean_loop
from lenet_lab.models.lenet import LeNet
from lenet_lab.tasks.classification import Classification
from tests.lenet_lab.tasks.test_classification import SGD, digits, trainer

BATCHES = 10  # of an epoch

ONE_CYCLE = Schedule(partial(OneCycleLR, max_lr=0.1, total_steps="run_length"))
PLATEAU = Schedule(partial(ReduceLROnPlateau, patience=0), "epoch", "val/loss")


class Watch(Callback):
    """Notes each hook of a step, with what can be seen of the run from there."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def note(self, name: str, trainer: Trainer, module: Any, *rest: Any) -> None:
        metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
        counts = trainer.fit_loop.epoch_loop.batch_progress.state_dict()
        self.seen.append((name, trainer.global_step, trainer.is_last_batch, metrics, counts))
        if name == "on_train_batch_end":
            self.seen.append((float(rest[0]["loss"]), rest[2]))
            module.log("watch/step", float(trainer.global_step))


for hook in (
    *("on_train_batch_start", "on_before_zero_grad", "on_before_backward", "on_after_backward"),
    *("on_before_optimizer_step", "on_train_batch_end", "on_validation_start", "on_train_epoch_end"),
):
    setattr(Watch, hook, lambda self, *rest, hook=hook: self.note(hook, *rest))


class LogsEachStep(Classification):
    """As a user may write it."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("own/loss", loss, on_step=True, on_epoch=True)
        return {"loss": loss, "batch": batch_idx}

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        assert outputs["batch"] == batch_idx


class SkipsSome(Classification):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return None if batch_idx % 5 == 3 else loss


class StopsEarly(Classification):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 6 else None


class StepsItself(Classification):
    def optimizer_step(self, *arguments: Any, **rest: Any) -> None:
        super().optimizer_step(*arguments, **rest)


def fit(
    folder: Path,
    lean: bool,
    kind: type[Classification] = Classification,
    optimizer: Any = SGD,
    schedule: Schedule | None = None,
    ckpt_path: Path | None = None,
    **changes: Any,
) -> tuple[Trainer, list[Any], dict[str, Any]]:
    """Train on digits; the trainer, what a callback saw, and the checkpoint at the end."""
    seed_everything(7, verbose=False)
    watch = Watch()
    run = trainer(folder, **{"callbacks": [watch], "limit_train_batches": BATCHES, **changes})
    if lean:
        use_lean_loop(run)
    classifier = kind(LeNet(1, (32, 32), 10), tuple("0123456789"), optimizer, schedule)
    run.fit(classifier, datamodule=digits(), ckpt_path=ckpt_path)
    file = folder / f"{lean}.ckpt"
    run.save_checkpoint(file)
    return run, watch.seen, torch.load(file, weights_only=True)


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            assert_same(ours[key], theirs[key])
    elif isinstance(theirs, list | tuple):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            assert_same(one, other)
    elif isinstance(theirs, torch.Tensor):
        assert torch.equal(ours, theirs)
    else:
        assert ours == theirs


@pytest.mark.parametrize(
    ("plain", "changes"),
    [
        (True, {}),
        (True, {"schedule": ONE_CYCLE}),
        (True, {"schedule": PLATEAU}),
        (True, {"precision": "bf16-mixed"}),
        (True, {"max_steps": 13}),
        (True, {"limit_train_batches": 7}),
        (True, {"val_check_interval": 4}),
        (True, {"kind": LogsEachStep}),
        (True, {"optimizer": partial(torch.optim.LBFGS, max_iter=2), "limit_train_batches": 3}),  # several closures
        (False, {"accumulate_grad_batches": 2}),
        (False, {"gradient_clip_val": 0.5}),
        (False, {"profiler": "simple"}),
        (False, {"kind": StopsEarly}),
        (False, {"kind": StepsItself}),
    ],
    ids=str,
)
def test_it_does_what_lightnings_loop_does(tmp_path: Path, plain: bool, changes: dict[str, Any]) -> None:
    run, seen, checkpoint = fit(tmp_path, lean=True, **changes)
    assert run.fit_loop.epoch_loop._plain == plain
    own, expected, own_checkpoint = fit(tmp_path, lean=False, **changes)
    assert type(own.fit_loop.epoch_loop) is not LeanLoop
    assert_same(seen, expected)
    assert_same(checkpoint, own_checkpoint)
    assert_same(dict(run.callback_metrics), dict(own.callback_metrics))


def test_a_step_may_be_skipped(tmp_path: Path) -> None:
    checkpoints = []
    for lean in (False, True):
        Closure.warning_cache.clear()  # else the second would say nothing
        with pytest.warns(UserWarning, match="returned `None`"):
            checkpoints.append(fit(tmp_path, lean=lean, kind=SkipsSome, callbacks=[])[2])
    assert_same(*checkpoints)


@pytest.mark.parametrize(("lean", "said"), [(True, "has returned None"), (False, "returning None")])
def test_no_step_of_several_devices_may_be_skipped(
    tmp_path: Path, lean: bool, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "world_size", 2)
    monkeypatch.setattr(_TrainingEpochLoop, "_broadcast_sigterm_tensor", lambda self: None)  # there is nobody to tell
    with pytest.raises(RuntimeError, match=said):
        fit(tmp_path, lean=lean, kind=SkipsSome, callbacks=[])


def test_devices_that_average_their_weights_now_and_then_are_left_to_lightnings_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # which DDPStrategy is told by this attribute, and does after each step
    monkeypatch.setattr(SingleDeviceStrategy, "_ddp_comm_state", object(), raising=False)
    assert not fit(tmp_path, lean=True, callbacks=[])[0].fit_loop.epoch_loop._plain


@pytest.mark.filterwarnings("ignore:Checkpoint directory .* exists and is not empty")
@pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before the epoch ended")
@pytest.mark.parametrize("lean", [True, False])
def test_a_run_goes_on_in_either_loop(tmp_path: Path, lean: bool) -> None:
    """From the middle of the first epoch, and from its end."""

    def keep() -> dict[str, Any]:
        kept = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=5, save_top_k=-1)
        return {"callbacks": [kept], "enable_checkpointing": True}

    fit(tmp_path, lean=lean, **keep())
    for file in (tmp_path / "step=5.ckpt", tmp_path / "step=10.ckpt"):
        ours, theirs = (fit(tmp_path, lean=other, ckpt_path=file, **keep())[2] for other in (not lean, lean))
        assert ours["global_step"] == 20
        for checkpoint in (ours, theirs):
            del checkpoint["callbacks"]  # they hold paths
        assert_same(ours, theirs)


def test_weights_equal_those_of_a_plain_loop_bit_for_bit(tmp_path: Path) -> None:
    weights = fit(tmp_path, lean=True, schedule=ONE_CYCLE, callbacks=[])[2]["state_dict"]
    seed_everything(7, verbose=False)
    plain, data = LeNet(1, (32, 32), 10), digits()
    data.setup()
    optimizer = SGD(plain.parameters())
    scheduler = OneCycleLR(optimizer, max_lr=0.1, total_steps=2 * BATCHES)
    for epoch in range(2):
        loader = data.train_dataloader()
        loader.epoch = lambda epoch=epoch: epoch  # type: ignore[misc]
        for images, labels in islice(loader, BATCHES):
            optimizer.zero_grad()
            F.cross_entropy(plain(data.normalize(images)), labels).backward()
            optimizer.step()
            scheduler.step()
    for key, value in plain.state_dict().items():
        assert torch.equal(weights[f"network.{key}"], value)
