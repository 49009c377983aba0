"""Tracebacks of faults in the code of a project, without those who called it."""

import re
import sysconfig
from pathlib import Path
from types import TracebackType

from lab_engine.config.command import SHOW_TRACEBACK

ENGINE = str(Path(__file__).parents[1])
LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, "<frozen", ENGINE)
LOADERS = str(Path("torch", "utils", "data"))
FRAME = re.compile(r'  File "(.*)", line .*\n(?:    .*\n)*')
"""In the message of an error that PyTorch has brought from a process that loads samples."""


def shorten(error: Exception) -> Exception:
    """Leave in the traceback of an error the frames of the project's own code, if it arose there or was called there.

    PyTorch's loaders count as the project's, whose samples they load. A fault of the engine keeps its traceback, and so
    do all with HYDRA_FULL_ERROR=1.
    """
    frames: list[TracebackType] = []
    frame = error.__traceback__
    while frame is not None:
        frames.append(frame)
        frame = frame.tb_next
    own = [each for each in frames if not _file(each).startswith(LIBRARIES)]
    # of the project, its loaders and the engine, whose code was the last to run?
    last = next((each for each in reversed(frames) if each in own or LOADERS in _file(each) or _of_engine(each)), None)
    if SHOW_TRACEBACK or last is None or _of_engine(last):
        return error
    kept: TracebackType | None = None
    for each in reversed(own):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    if error.args and isinstance(message := error.args[0], str):
        error.args = (type(message)(FRAME.sub(_unless_of_library, message)), *error.args[1:])
    error.add_note(f"{len(frames) - len(own)} lines of libraries are left out: HYDRA_FULL_ERROR=1 shows them.")
    return error.with_traceback(kept)


def _file(frame: TracebackType) -> str:
    return frame.tb_frame.f_code.co_filename


def _of_engine(frame: TracebackType) -> bool:
    return _file(frame).startswith(ENGINE)


def _unless_of_library(frame: re.Match[str]) -> str:
    return "" if frame[1].startswith(LIBRARIES) else frame[0]
