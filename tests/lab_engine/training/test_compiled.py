import shutil
from pathlib import Path

import pytest
import torch
from torch import nn
from torch._inductor import config as inductor

from lab_engine.artifacts.checkpoint import read_checkpoint
from lab_engine.base.errors import UserError
from lab_engine.training.compiled import Compiled, compile_forward
from lenet_lab.models.lenet import LeNet
from lenet_lab.tasks.classification import Classification
from tests.conftest import SMALL, Command

needs_compiler = pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile for a CPU needs g++")


def test_a_classifier_that_is_compiled_has_the_names_of_one_that_is_not() -> None:
    plain, compiled = LeNet(1, (16, 16), 10), LeNet(1, (16, 16), 10)
    compile_forward(compiled, "default")
    names = [Classification(network, "0123456789").state_dict().keys() for network in (compiled, plain)]
    assert names[0] == names[1]


@pytest.mark.filterwarnings("ignore:dynamo_pgo force disabled")
def test_a_machine_that_cannot_compile_is_told_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor.cpp, "cxx", ("no-such-compiler",))
    monkeypatch.setattr(inductor, "force_disable_caches", True)
    with pytest.raises(UserError, match=r"speed\.compile=default: .*no-such-compiler.*\n.* C\+\+ compiler.*=null"):
        Compiled(LeNet(1, (16, 16), 7), "default")(torch.rand(2, 1, 16, 16))


def test_an_error_of_the_network_is_not_taken_for_one_of_the_machine() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(9, 7))  # images have 256 pixels
    with pytest.raises(UserError, match=r"speed\.compile=default: .*\nTry speed\.compile=null: .*own"):
        Compiled(network, "default")(torch.rand(2, 1, 16, 16))


@pytest.mark.slow
@needs_compiler
def test_a_run_with_all_that_makes_it_fast_is_evaluated_and_exported_like_any(command: Command, tmp_path: Path) -> None:
    fast = ("speed=gpu", "speed.compile=default", "trainer.accelerator=cpu", "data.batch_size=64")
    trained = command("train", *SMALL, *fast, "trainer.max_epochs=3", "optimizer.lr=0.1", "augment=shift")
    assert trained.status == 0, trained.err
    assert "cpu, bf16-mixed" in trained.out
    assert "channels_last, compiled (default), float32 products high, data on the device" in trained.out
    assert trained.metrics["test/accuracy"] > 0.5
    checkpoint = trained.folder / "checkpoints" / "best.ckpt"
    assert {name.split(".")[0] for name in read_checkpoint(checkpoint)["state_dict"]} == {"network"}
    again = command("evaluate", f"checkpoint={checkpoint}", f"hydra.run.dir={tmp_path}/again")
    assert "bf16-mixed" in again.out, again.err
    # bfloat16 keeps 8 bits and evaluate does not compile: three of 359 images may be a draw between two classes
    assert again.metrics["test/accuracy"] == pytest.approx(trained.metrics["test/accuracy"], abs=3.5 / 359)
