"""One of two processes of a run dies, or gives no more answer: the other ends soon, and one line says why."""

import signal

import pytest

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
    stop = overrides("Signal", number=int(signal.SIGSTOP), rank=1, minutes_to_wait=0.1)
    result = command("train", *TWO, *stop, options=("-u",))  # not forked: psutil reads RANK as it was at the start
    assert result.status == 1
    assert result.err == "error: device 0 has timed out waiting for device 1, which is stopped\n"
