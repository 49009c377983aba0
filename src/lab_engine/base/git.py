"""Git, asked about the checkout that the code is in."""

import os
import subprocess
from pathlib import Path


def git(folder: Path, *words: str, seconds: float, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """Run git in a folder, with the repository that the folder is in; it takes no locks, for many runs ask at once.

    Args:
        folder: where to.
        words: of the command line, after `git`.
        seconds: that it may take.
        variables: of the environment, beside those that there are.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took longer.
    """
    # Inside a hook, git names its own repository in variables, which go before the folder.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(  # noqa: S603 - git where PATH has it, as the user calls it
        ("git", "--no-optional-locks", "--literal-pathspecs", *words),  # noqa: S607
        cwd=folder,
        env=inherited | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
    )
