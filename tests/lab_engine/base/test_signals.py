"""Signals end a run as a shell expects it, wherever it is."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from lab_engine.base.signals import Interrupted, Interruption, set_handlers
from tests import forked
from tests.conftest import SMALL, environment_in

CUT = """
import os, signal, sys
from lightning.pytorch import Callback
from lab_engine.training.callbacks.progress import Progress
from lab_engine.cli.main import main
from lenet_lab.train import COMMAND

Progress.on_test_start = lambda *_: os.kill(os.getpid(), {number})
sys.argv[1:] = {words}
main(COMMAND)
"""


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_in_the_test_as_well(tmp_path: Path, number: int, status: int) -> None:
    words = [*SMALL, "report=false", "hydra.run.dir=run"]
    done = forked.run(
        [sys.executable, "-c", CUT.format(number=int(number), words=words)],
        cwd=tmp_path,
        env=environment_in(tmp_path),
    )
    assert done.returncode == status, done.stderr
    assert done.stderr == ""
    assert done.stdout.splitlines()[-2] == "interrupted, 43 steps saved"
    assert done.stdout.splitlines()[-1].endswith("train resume=run")
    assert not (tmp_path / "run" / "metrics.json").exists()


def test_what_is_ignored_stays_so() -> None:
    """As after `nohup`, or in the background of a script."""
    code = "import os, signal; from lab_engine.base.signals import ended_by_signals\n"
    code += "with ended_by_signals(): os.kill(os.getpid(), signal.SIGINT)\nprint('alive')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN) and None,
    )
    assert (done.stdout, done.stderr) == ("alive\n", "")


@pytest.mark.parametrize("one_of_several", [False, True])
def test_a_second_signal_ends_a_run_that_is_alone(capfd: pytest.CaptureFixture[str], one_of_several: bool) -> None:
    interruption = Interruption(one_of_several=one_of_several)
    before = signal.getsignal(signal.SIGTERM)
    interruption.listen()
    interruption.listen()  # once is enough
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        assert interruption.asked == signal.SIGTERM
        if one_of_several:
            os.kill(os.getpid(), signal.SIGINT)
        else:
            with pytest.raises(Interrupted) as ended:
                os.kill(os.getpid(), signal.SIGINT)
            assert ended.value.status == 130
        assert interruption.asked == signal.SIGTERM
    finally:
        interruption.leave()
    assert signal.getsignal(signal.SIGTERM) is before
    end = "" if one_of_several else "\nCtrl-C: stopped at once.\n"
    assert capfd.readouterr().err == f"\nSIGTERM: the run is stopping; a second signal stops it at once.\n{end}"


def test_a_thread_leaves_the_signals_alone() -> None:
    taken = list[dict[int, Any]]()
    thread = threading.Thread(target=lambda: taken.append(set_handlers(lambda *_: None)))
    thread.start()
    thread.join()
    assert taken == [{}]
