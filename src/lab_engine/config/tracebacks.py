"""Tracebacks of faults in the code of a project, without those who called it."""

import sysconfig
from pathlib import Path
from types import TracebackType

from lab_engine.config.command import SHOW_TRACEBACK

ENGINE = str(Path(__file__).parents[1])
LIBRARIES = (*{sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")}, "<frozen", ENGINE)


def shorten(error: Exception) -> Exception:
    """Leave in the traceback of an error the frames of the project's own code, if it arose there or was called there.

    A fault of the engine keeps its traceback, and so do all with HYDRA_FULL_ERROR=1.
    """
    frames: list[TracebackType] = []
    frame = error.__traceback__
    while frame is not None:
        frames.append(frame)
        frame = frame.tb_next
    own = [each for each in frames if not _file(each).startswith(LIBRARIES)]
    # of the project and the engine, whose code was the last to run?
    last = next((each for each in reversed(frames) if each in own or _file(each).startswith(ENGINE)), None)
    if SHOW_TRACEBACK or last is None or last not in own:
        return error
    kept: TracebackType | None = None
    for each in reversed(own):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    error.add_note(f"{len(frames) - len(own)} lines of libraries are left out: HYDRA_FULL_ERROR=1 shows them.")
    return error.with_traceback(kept)


def _file(frame: TracebackType) -> str:
    return frame.tb_frame.f_code.co_filename
