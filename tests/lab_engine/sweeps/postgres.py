"""A PostgreSQL server of the tests' own, from the system's programs, in a folder that goes away with it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SECONDS_TO_START = 60


def _programs() -> Path | None:
    """Debian keeps them where PATH does not lead."""
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    on_path = shutil.which("initdb")
    return max(found, default=Path(on_path).parent if on_path else None)


@contextmanager
def server() -> Iterator[str]:
    """Give the address of an empty database; it is reached through a socket in a folder, so it takes no port."""
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))  # a socket's path must be short
    as_user: list[str] = []
    try:
        if os.geteuid() == 0:  # the server refuses to be root
            user = pwd.getpwnam("postgres")
            os.chown(folder, user.pw_uid, user.pw_gid)
            as_user = ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        data = folder / "data"
        words = ["--username=lab", "--auth=trust", "--no-sync", "--encoding=UTF8", "--locale=C", f"--pgdata={data}"]
        subprocess.run([*as_user, programs / "initdb", *words], check=True, capture_output=True, cwd=folder)
        settings = ["-c", "listen_addresses=", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        with (folder / "log").open("w") as log:
            running = subprocess.Popen(
                [*as_user, programs / "postgres", "-D", data, *settings], stdout=log, stderr=log, cwd=folder
            )
        try:
            until = time.monotonic() + SECONDS_TO_START
            while subprocess.run([programs / "pg_isready", "-h", folder], capture_output=True).returncode:
                assert running.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < until, (folder / "log").read_text()
                time.sleep(0.1)
            yield f"postgresql+psycopg://lab@/postgres?host={folder}"
        finally:
            running.send_signal(signal.SIGINT)  # a fast, clean end
            running.wait()
    finally:
        shutil.rmtree(folder)
