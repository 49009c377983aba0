"""The git checkout that the code is in: its state, and its uncommitted changes as a patch."""

import os
import re
import shutil
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

PATCH = "changes.patch"
MAX_BYTES = 1_000_000  # of the patch; files that do not fit are left out
MAX_NEW_FILE = 100_000  # bytes; code is smaller, and data does not belong here
CREDENTIALS = r"(://[^\s/:@]*):[^\s/@]+@"  # a password in an address
MASKED = r"\1:…@"


def git(folder: Path, *words: str, seconds: float, **variables: str) -> "subprocess.CompletedProcess[bytes]":
    """Run git in a folder, without its optional locks, because many runs may call it at once.

    Args:
        folder: in which git runs.
        words: of the command line, after `git`.
        seconds: that it may take.
        variables: to add to the environment.

    Raises:
        OSError: it cannot be started.
        subprocess.TimeoutExpired: it took longer.
    """
    # Inside a hook, variables name the repository of the hook, and git would prefer it to that of the folder.
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("GIT_")}
    return subprocess.run(  # noqa: S603 - git where PATH has it, as the user calls it
        ("git", "--no-optional-locks", "--literal-pathspecs", *words),  # noqa: S607
        cwd=folder,
        env=inherited | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=seconds,
    )


def uncommitted_patch(folder: Path, seconds: float) -> bytes:
    """Return a patch for `git apply` with the changed files, and the new ones that no .gitignore names.

    Binary files are included. Passwords in addresses are masked. Files that would make the patch too large are left
    out, and its first lines name them.

    Args:
        folder: in a checkout with a commit.
        seconds: that git may take.

    Returns:
        The patch; empty if nothing has changed, or git fails.
    """
    until = time.monotonic() + seconds
    try:
        top = Path(os.fsdecode(_git(folder, until, "rev-parse", "--show-toplevel").rstrip(b"\n")))
        index = Path(os.fsdecode(_git(top, until, "rev-parse", "--git-path", "index").rstrip(b"\n")))
        new = [
            name for name in _git(top, until, "ls-files", "--others", "--exclude-standard", "-z").split(b"\0") if name
        ]
        large = [name for name in new if not _is_small(top / os.fsdecode(name))]
        with TemporaryDirectory() as place:  # new files are added to a copy of git's index, not to the index itself
            own = {"GIT_INDEX_FILE": str(Path(place) / "index")}
            shutil.copyfile(top / index, own["GIT_INDEX_FILE"])
            if small := [name for name in new if name not in large]:
                names = [os.fsdecode(name) for name in small]
                for start in range(0, len(names), 500):
                    _git(top, until, "add", "--intent-to-add", "--", *names[start : start + 500], **own)
            patch = _git(top, until, "diff", "--binary", "--no-color", "--no-ext-diff", "HEAD", **own)
    except (OSError, subprocess.SubprocessError):
        return b""
    return re.sub(CREDENTIALS.encode(), MASKED.encode(), _bounded(patch, large))


def _git(folder: Path, until: float, *words: str, **variables: str) -> bytes:
    done = git(folder, *words, seconds=max(until - time.monotonic(), 0.01), **variables)
    done.check_returncode()
    return done.stdout


def _is_small(file: Path) -> bool:
    with suppress(OSError):
        return file.is_symlink() or (file.is_file() and file.stat().st_size <= MAX_NEW_FILE)
    return False


def _bounded(patch: bytes, left_out: list[bytes]) -> bytes:
    """Keep the files that fit, in order, after lines that name the ones left out, which `git apply` ignores."""
    kept, size = [], 0
    for part in re.split(rb"(?m)^(?=diff --git )", patch):
        if size + len(part) > MAX_BYTES:
            left_out = [*left_out, part.partition(b"\n")[0].removeprefix(b"diff --git ")]
            continue
        kept.append(part)
        size += len(part)
    return b"".join([*(b"# left out, too large: " + name + b"\n" for name in left_out), *kept])
