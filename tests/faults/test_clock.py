"""The clock of the machine jumps by a day while a run is at work."""

import json
from pathlib import Path

import pytest

from tests.conftest import SMALL
from tests.faults.trouble import overrides
from tests.lab_engine.sweeps.conftest import run_sweep

LIBRARY = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not LIBRARY, reason="needs libfaketime (Debian: apt-get install faketime)"),
]


def clock(tmp_path: Path) -> tuple[Path, dict[str, str]]:
    """A file that says how far the clock is from the right time, and variables for processes that are to believe it."""
    file = tmp_path / "clock"
    file.write_text("+0\n")
    variables = {
        "LD_PRELOAD": str(LIBRARY[0]),
        "FAKETIME_TIMESTAMP_FILE": str(file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",  # which no real clock's owner can set either
        "NO_FAKE_STAT": "1",
    }
    return file, variables


@pytest.mark.parametrize("offset", ["-1d", pytest.param("+1d", marks=pytest.mark.long)])
def test_a_sweep_takes_no_notice_but_for_the_dates(tmp_path: Path, offset: str) -> None:
    file, variables = clock(tmp_path)
    words = [*SMALL, "logger=none", *overrides("Clock", file=file, offset=offset)]
    sweep = run_sweep(tmp_path, *words, **variables)
    assert sweep.status == 0, sweep.err
    assert sweep.states == {"0": "done"}
    seconds = sweep.jobs["0"].seconds("done")
    assert seconds is not None
    metrics = json.loads((sweep.folder / "0" / "metrics.json").read_text())
    assert 0 < metrics["train/seconds"] < seconds < 300
    again = run_sweep(tmp_path, *words, **variables)
    assert again.status == 0, again.err
    assert again.jobs["0"] == sweep.jobs["0"]
