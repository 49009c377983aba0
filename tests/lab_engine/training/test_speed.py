from pathlib import Path
from typing import Any

import pytest
import torch

from lab_engine.base.errors import UserError
from lab_engine.training import speed
from lab_engine.training.build import build_data, build_trainer
from lab_engine.training.speed import resolve_auto, speed_summary
from lenet_lab.compose import compose


def on(monkeypatch: pytest.MonkeyPatch, gpu: bool = False, flags: tuple[str, ...] = (), emulates: bool = False) -> None:
    """Be on another machine; a GPU that emulates bfloat16 has no instructions for it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation or not emulates
    )
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(speed, "processor_flags", lambda: set(flags))


def settled(*overrides: str, begun: str | None = None) -> tuple[str, dict[str, Any]]:
    config = resolve_auto(compose("data=digits", *overrides), begun)
    return config["trainer"]["precision"], config["speed"]


@pytest.mark.parametrize(
    ("gpu", "flags", "batch", "precision", "chosen"),
    [
        (False, ("avx2",), 4, "32-true", "PyTorch's own convolutions"),
        (False, ("avx2",), 8, "32-true", "channels_last"),
        (False, ("amx_bf16",), 4, "32-true", "PyTorch's own convolutions"),
        (False, ("amx_bf16",), 512, "bf16-mixed", "channels_last"),
        (False, ("avx2",), 512, "32-true", "channels_last"),
        (True, (), 512, "bf16-mixed", "channels_last, float32 products high, data on the device"),
    ],
)
def test_auto_is_settled_by_machine_and_batch(
    gpu: bool, flags: tuple[str, ...], batch: int, precision: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on(monkeypatch, gpu, flags)
    found = settled("speed=auto", f"data.batch_size={batch}")
    assert (found[0], speed_summary(found[1])) == (precision, chosen)


def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, gpu=True, emulates=True)
    precision, chosen = settled("speed=auto", "data.batch_size=512")
    assert (precision, chosen["memory_format"]) == ("32-true", "channels_last")


def test_a_gpu_that_is_not_used_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, gpu=True)
    assert settled("speed=auto", "trainer.accelerator=cpu", "data.batch_size=4")[0] == "32-true"


def test_what_is_given_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, flags=("amx_bf16",))
    words = ("speed=auto", "data.batch_size=512", "trainer.precision=32-true", "speed.memory_format=contiguous")
    assert settled(*words)[0] == "32-true"
    assert speed_summary(settled(*words)[1]) == ""


def test_a_run_that_goes_on_keeps_its_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, flags=("amx_bf16",))
    assert settled("speed=auto", "data.batch_size=512", begun="32-true")[0] == "32-true"


def test_by_default_nothing_depends_on_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    on(monkeypatch, gpu=True, flags=("amx_bf16",))
    config = compose("data.batch_size=512")
    assert resolve_auto(config) == config


@pytest.mark.parametrize(("asked", "tf32"), [("highest", False), ("high", True), ("medium", True)])
def test_products_and_convolutions_of_a_gpu_are_as_precise_as_asked(
    asked: str, tf32: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", not tf32)  # so that it is put back
    config = compose("data=digits", f"speed.matmul_precision={asked}", "trainer.accelerator=cpu")
    data = build_data(config)
    data.setup()
    try:
        build_trainer(config, data, [], [])
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == (asked, tf32)
    finally:
        torch.set_float32_matmul_precision("highest")


def test_cuda_graphs_and_accumulated_gradients_cannot_go_together() -> None:
    said = r"speed\.compile=reduce-overhead cannot be used with trainer\.accumulate_grad_b"
    with pytest.raises(UserError, match=said):
        compose("speed=gpu", "trainer.accumulate_grad_batches=2")


def test_flags_are_read_where_linux_tells_them() -> None:
    told = Path("/proc/cpuinfo")
    assert bool(speed.processor_flags()) == (told.exists() and "\nflags" in told.read_text())
