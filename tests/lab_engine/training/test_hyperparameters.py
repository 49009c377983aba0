"""The table that runs are compared by."""

from pathlib import Path

import pytest

from lab_engine.training.hyperparameters import hyperparameters
from lenet_lab.compose import compose


def test_is_flat_plain_and_short() -> None:
    values = hyperparameters(compose("experiment=digits", "augment=flip_shift", "trainer.gradient_clip_val=1.0"))
    assert len(values) <= 42
    assert all(type(value) in (float, int, str, bool) for value in values.values())
    expected = {
        "seed": 42,
        "effective_batch": 32,
        "data": "digits",
        "data.batch_size": 32,
        "model": "lenet",
        "model.conv_channels": "[6, 16]",
        "optimizer": "sgd",
        "optimizer.lr": 0.05,
        "optimizer.nesterov": False,
        "scheduler": "one_cycle",
        "scheduler.pct_start": 0.3,
        "augment": "flip, shift",
        "augment.shift.pixels": 2,
        "trainer.max_epochs": 30,
        "trainer.gradient_clip_val": 1.0,
        "trainer.precision": "32-true",
        "loss": "cross_entropy",
        "loss.label_smoothing": 0.0,
        "test_time": "none",
        "speed.memory_format": "contiguous",
        "speed.onednn": True,
    }
    assert expected.items() <= values.items()


def test_leaves_out_what_concerns_the_machine_only(tmp_path: Path) -> None:
    here = compose(
        "data=image_folder", f"data.root={tmp_path}", "data.cache=/c", "threads=1", "optimizer.fused=true", folder="a"
    )
    there = compose("data=image_folder", "data.root=.", "threads=2", "optimizer.fused=false", folder="b")
    assert hyperparameters(here) == hyperparameters(there)


def test_names_options_and_says_none_where_there_is_nothing() -> None:
    values = hyperparameters(compose("scheduler=constant", "augment=none"))
    assert (values["scheduler"], values["augment"]) == ("constant", "none")


@pytest.mark.parametrize(
    ("overrides", "images"),
    [(["trainer.devices=2"], 8), (["trainer.devices=[0,3,4]"], 12), (["trainer.accumulate_grad_batches=5"], 20)],
)
def test_counts_the_images_of_a_step(overrides: list[str], images: int) -> None:
    assert hyperparameters(compose(*overrides))["effective_batch"] == images
