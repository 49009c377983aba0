"""`deterministic`: what it is by default, and what a user is told who has an operation without such a form."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lab_engine.base.errors import UserError
from lab_engine.training.build import build_data, build_trainer
from lab_engine.training.determinism import is_deterministic
from lenet_lab.compose import compose
from lenet_lab.metrics import EvaluationMetrics
from lenet_lab.views.tensorboard_pictures import PassStatistics
from tests.conftest import FROM_DATA, SMALL, Command


@pytest.fixture(autouse=True)
def _leave_it_as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)


@pytest.mark.parametrize(("word", "expected"), [("null", True), ("true", True), ("false", False)])
def test_the_trainer_is_told(word: str, expected: bool, tmp_path: Path) -> None:
    config = compose("data=digits", f"deterministic={word}", "trainer.accelerator=cpu", folder=str(tmp_path))
    data = build_data(config)
    data.setup()
    build_trainer(config, data, [], [])
    assert torch.are_deterministic_algorithms_enabled() == expected


def test_a_gpu_is_left_its_own_algorithms_unless_asked() -> None:
    config = compose("data=digits", "trainer.accelerator=gpu")
    assert not is_deterministic(config)
    assert is_deterministic({**config, "deterministic": True})


def test_benchmark_contradicts_it() -> None:
    with pytest.raises(UserError, match=r"trainer.benchmark=true cannot be used with deterministic=true"):
        compose("deterministic=true", "+trainer.benchmark=true")


def test_an_operation_without_such_a_form_is_named_with_the_cure(command: Command, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from torch import nn\n"
        "class Unpool(nn.Module):\n"
        "    def __init__(self, in_channels, image_size, num_classes):\n"
        "        super().__init__()\n"
        "        self.pool = nn.MaxPool2d(2, return_indices=True)\n"
        "        self.unpool = nn.MaxUnpool2d(2)\n"
        "        self.last = nn.Linear(in_channels * image_size[0] * image_size[1], num_classes)\n"
        "    def forward(self, x):\n"
        "        return self.last(self.unpool(*self.pool(x)).flatten(1))\n"
    )
    (tmp_path / "own" / "model").mkdir(parents=True)
    (tmp_path / "own" / "model" / "unpool.yaml").write_text(f"_target_: mine.Unpool\n{FROM_DATA}")
    words = ("--config-dir=own", *SMALL, "model=unpool", "debug=one_batch", "logger=none", "report=false")
    refused = command("train", *words)
    assert refused.status == 2
    assert "has no deterministic algorithm, and only those are allowed: add deterministic=false" in refused.err
    assert len(refused.err.splitlines()) == 1
    done = command("train", *words, "deterministic=false", "hydra.run.dir=done")
    assert done.status == 0, done.err


def test_what_is_counted_takes_no_more_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    count, calls = torch.bincount, []
    monkeypatch.setattr(torch, "bincount", lambda *rest, **options: calls.append(1) or count(*rest, **options))
    logits, labels = torch.eye(3)[[0, 1, 2, 0]], torch.tensor([0, 1, 2, 2])
    metrics, seen = EvaluationMetrics(("a", "b", "c")), PassStatistics(3, torch.device("cpu"))
    torch.use_deterministic_algorithms(True)
    try:
        metrics.update(logits, labels, torch.tensor(1.0))
        seen.update(torch.zeros(4, 1, 8, 8), labels, logits)
        assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert len(calls) == 2  # TorchMetrics' other way compares each image with each cell: 18 GB for CIFAR-10's curves
    assert metrics.compute("val")["val/accuracy"] == 0.75
