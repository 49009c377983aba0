"""Completion in the shells themselves."""

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import environment_in

SCRIPT = f"""\
#!{sys.executable}
import sys
from lenet_lab.__main__ import main
sys.exit(main())
"""
SECONDS = 40
ASK = """
eval "$(lenet-lab --shell-completion install=bash)"
for line in "$@"; do
    COMP_LINE="$line" COMP_POINT=${#line}
    _lenet-lab_complete
    echo "${COMPREPLY[*]}"
done
"""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lenet-lab").write_text(SCRIPT)
    (tmp_path / "bin" / "lenet-lab").chmod(0o755)
    (tmp_path / "photos").mkdir()
    path = os.pathsep.join([str(tmp_path / "bin"), os.environ["PATH"]])
    return environment_in(tmp_path) | {"PATH": path, "HOME": str(tmp_path), "TERM": "dumb", "PS1": "$ "}


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_keys_and_options(environment: dict[str, str], tmp_path: Path) -> None:
    asked = {
        "lenet-lab ": "train evaluate predict export anatomy sweep_report",
        "lenet-lab train lr=0.1 optimizer=": "adamw muon sgd",  # what comes after =, a word of its own in bash
        "lenet-lab train data=digits data.batch_": "data.batch_size=",
        "lenet-lab train ep": "epochs=",
        "lenet-lab train data=./ph": "./photos",
    }
    words = ["bash", "--norc", "-c", ASK, "bash", *asked]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout.splitlines() == list(asked.values()), done.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="needs zsh")
def test_zsh_completes_likewise(environment: dict[str, str], tmp_path: Path) -> None:
    terminal, of_shell = pty.openpty()
    files = dict.fromkeys(("stdin", "stdout", "stderr"), of_shell)
    shell = subprocess.Popen(["zsh", "-f", "-i"], cwd=tmp_path, env=environment, start_new_session=True, **files)
    try:
        os.write(terminal, b'eval "$(lenet-lab --shell-completion install=zsh)"; echo rea""dy\n')
        read_until(terminal, "ready")
        os.write(terminal, b"lenet-lab train optimizer=ad\t")
        read_until(terminal, "optimizer=adamw")
    finally:
        shell.kill()
        shell.wait()
        os.close(terminal)
        os.close(of_shell)


def read_until(terminal: int, text: str) -> None:
    shown, until = "", time.monotonic() + SECONDS
    while text not in shown:
        assert time.monotonic() < until, shown
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 65536).decode(errors="replace")
