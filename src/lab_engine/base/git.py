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
SAMPLE = 8000  # bytes of a new file that are read to see whether it is text
NO_ROOM = b"# left out, no room: "
"""Beginning of the line in a patch that names a changed or new file that it does not hold."""
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

    Passwords in addresses are masked. New files that are large or not text are left out: they are no code. So are files
    for which there is no room, new ones first. The first lines name what is left out; `git apply` ignores them.

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
        code = [name for name in new if _is_code(top / os.fsdecode(name))]
        with TemporaryDirectory() as place:  # new files are added to a copy of git's index, not to the index itself
            own = {"GIT_INDEX_FILE": str(Path(place) / "index")}
            shutil.copyfile(top / index, own["GIT_INDEX_FILE"])
            for start in range(0, len(code), 500):
                names = map(os.fsdecode, code[start : start + 500])
                _git(top, until, "add", "--intent-to-add", "--", *names, **own)
            patch = _git(top, until, "diff", "--binary", "--no-color", "--no-ext-diff", "HEAD", **own)
    except (OSError, subprocess.SubprocessError):
        return b""
    return re.sub(CREDENTIALS.encode(), MASKED.encode(), _others(new, code) + _bounded(patch))


def _git(folder: Path, until: float, *words: str, **variables: str) -> bytes:
    done = git(folder, *words, seconds=max(until - time.monotonic(), 0.01), **variables)
    done.check_returncode()
    return done.stdout


def _is_code(file: Path) -> bool:
    """Return whether a new file is a link, or text that is not too large."""
    with suppress(OSError):
        if file.is_symlink():
            return True
        if file.is_file() and file.stat().st_size <= MAX_NEW_FILE:
            with file.open("rb") as stream:
                return b"\0" not in stream.read(SAMPLE)
    return False


def _others(new: list[bytes], code: list[bytes]) -> bytes:
    others = sorted({*new} - {*code})
    if not others:
        return b""
    more = f" and {len(others) - 1} more".encode() if len(others) > 1 else b""
    return b"# left out, large or not text: " + others[0] + more + b"\n"


def _bounded(patch: bytes) -> bytes:
    """Keep the files that fit, changed ones before new ones, after lines that name those left out."""
    parts = re.split(rb"(?m)^(?=diff --git )", patch)
    kept, left_out, size = [], [], 0
    for part in sorted(parts, key=lambda part: b"\nnew file mode " in part[:1000]):
        if size + len(part) > MAX_BYTES:
            left_out.append(NO_ROOM + part.partition(b"\n")[0].removeprefix(b"diff --git ") + b"\n")
            continue
        kept.append(part)
        size += len(part)
    return b"".join([*left_out, *kept])
