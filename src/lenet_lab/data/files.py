"""The files below a folder."""

import os
import stat
from collections.abc import Iterator


def walk(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    """Give path and facts of every ordinary file below, in no order; names that start with a dot are passed over.

    Links to folders may loop, so none is followed; links to files are. Plain strings and one `stat` a file: this runs
    at every start, and Path objects would double its time.
    """
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(entry.path)
        else:
            facts = entry.stat(follow_symlinks=False)
            if stat.S_ISLNK(facts.st_mode):
                if not os.path.isfile(entry.path):  # noqa: PTH113
                    continue
                facts = entry.stat()
            if stat.S_ISREG(facts.st_mode):  # to read a pipe would mean to wait for ever
                yield entry.path, facts
