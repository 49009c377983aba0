"""One of two processes of a run dies, or gives no more answer: the other ends soon, and one line says why."""

import signal

import pytest
from torch import distributed

from lab_engine.runs.processes import explain_lost_device
from tests.conftest import SMALL, Command
from tests.faults.trouble import overrides

TWO = [*SMALL, "data.batch_size=4", "trainer.devices=2", "logger=none", "report=false"]


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_is_killed_ends_the_run(command: Command, rank: int) -> None:
    result = command("train", *TWO, *overrides("Signal", number=int(signal.SIGKILL), rank=rank))
    assert result.status == 1
    (line,) = result.err.splitlines()
    assert line.startswith(f"error: the process of device {rank} has died: Signal 9 (SIGKILL)")


@pytest.mark.slow
def test_a_process_that_is_stopped_ends_the_run(command: Command) -> None:
    stop = overrides("Signal", number=int(signal.SIGSTOP), rank=1, minutes_to_wait=0.4)
    result = command("train", *TWO, *stop, options=("-u",))  # not forked: psutil reads RANK as it was at the start
    assert result.status == 1
    assert result.err == "error: device 0 has timed out waiting for device 1, which is stopped\n"


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError(
            "[gloo/transport/tcp/unbound_buffer.cc:84] Timed out waiting 6000ms for recv operation to complete"
        ),
        RuntimeError("[gloo/transport/tcp/pair.cc:547] Application timeout caused pair closure"),
        RuntimeError("Gloo connectFullMesh failed with [pair.cc:152] timed out connecting: Connection refused"),
        distributed.DistStoreError("wait timeout after 6000ms, keys: /default_pg/0//cpu//0/1"),
        distributed.DistBackendError("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3)"),
    ],
)
def test_a_device_that_never_comes_is_reported_like_one_that_hangs(error: Exception) -> None:
    line, _ = explain_lost_device(error) or ("", 0)
    assert line == "device 0 has timed out waiting for another device, which hangs"


def test_a_timeout_of_anything_else_is_left_as_it_is() -> None:
    assert explain_lost_device(RuntimeError("DataLoader timed out after 5 seconds")) is None
