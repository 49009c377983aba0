"""Prediction of the samples of a data module, by the task of a checkpoint."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule, LightningModule
from lightning.pytorch.utilities.model_helpers import is_overridden
from rich.text import Text
from torch.utils.data import DataLoader

from lab_engine.artifacts.checkpoint import read_metadata
from lab_engine.base.atomic_write import open_atomic
from lab_engine.base.errors import UserError
from lab_engine.base.program import short
from lab_engine.base.wording import counted
from lab_engine.prediction.output_table import OutputTable
from lab_engine.training import terminal
from lab_engine.training.build import build_data, build_trainer, facts_of
from lab_engine.training.callbacks.progress import EvaluationBar
from lab_engine.training.from_checkpoint import build_trained, check_facts
from lab_engine.training.run_display import show_run

TRAINER = {"_target_": "lightning.pytorch.Trainer", "devices": 1, "num_nodes": 1, "strategy": "auto"}


def predict_samples(config: dict[str, Any], package: str) -> dict[str, Any]:
    """Write `predictions.csv` for the samples of the data's `predict_dataloader()`, or else of its test data.

    Args:
        config: checked.
        package: of the project.

    Returns:
        `samples`: how many there were.

    Raises:
        UserError: the task has no `predict_step` or cannot take the samples, or see `OutputTable`.
    """
    folder, checkpoint = Path(config["folder"]), Path(config["checkpoint"])
    accelerator = choose_device(config["device"]).type
    config = {**config, "trainer": {**TRAINER, "accelerator": accelerator}}
    data = build_data(config)
    check_facts(config, facts_of(data, config), checkpoint)
    task = build_trained(config, read_metadata(checkpoint).facts, checkpoint)
    if not is_overridden("predict_step", task, LightningModule):
        raise UserError(
            f"checkpoint={checkpoint} is of a {type(task).__name__}, which has no method predict_step(): predict "
            "cannot use it.\nAdd the method to its class; docs/tasks.md says what it returns."
        )
    own = is_overridden("predict_dataloader", data, LightningDataModule)
    data.predict_dataloader = partial(_loader, data, data.predict_dataloader if own else None)  # type: ignore[method-assign]
    file = folder / "predictions.csv"
    with open_atomic(file) as stream:
        table = OutputTable(stream, getattr(task, "classes", ()))
        trainer = build_trainer(config, data, callbacks=[table, EvaluationBar()], loggers=[])
        show_run(f"{package} predict", config, data, task, trainer)
        trainer.predict(task, datamodule=data, return_predictions=False)
    terminal.show(Text(f"predictions   {short(file)}, {counted(table.count, 'sample')}"))
    return {"samples": table.count}


def _loader(data: LightningDataModule, predict_dataloader: Callable[[], Any] | None) -> Any:
    """Return the loader to predict from, by default that of the test."""
    if predict_dataloader is None:
        data.setup("test")
        predict_dataloader = data.test_dataloader
    loader = predict_dataloader()
    return _Unchanged(loader) if isinstance(loader, DataLoader) else loader


class _Unchanged:
    """A loader that Lightning uses as it is: for prediction it would build a DataLoader anew, and fail with many."""

    def __init__(self, loader: DataLoader[Any]) -> None:
        self.dataset = loader.dataset
        self._loader = loader

    def __iter__(self) -> Iterator[Any]:
        return iter(self._loader)


def choose_device(name: str) -> torch.device:
    """Return the device for "auto", "cpu" or "gpu".

    Raises:
        UserError: a GPU is asked for where PyTorch finds none.
    """
    found = [kind for kind, here in (("cuda", torch.cuda), ("mps", torch.backends.mps)) if here.is_available()]
    if name == "gpu" and not found:
        raise UserError("device=gpu is refused: PyTorch finds no GPU here. Leave device at auto, or give cpu.")
    return torch.device(found[0] if found and name != "cpu" else "cpu")
