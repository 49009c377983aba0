"""How torch and Lightning are imported, which is most of the time from Enter to the first step."""

import gc
import importlib
import sys


def import_quickly(name: str) -> None:
    """Import torch, or Lightning with all that it needs, before anything else does; a second call does nothing.

    The garbage collector waits meanwhile: it would look through a million objects dozens of times, a seventh of the
    time, and find next to nothing. It leaves these objects alone from now on, which also lets processes that are
    forked later share their memory.

    Args:
        name: "torch" or "lightning.pytorch".
    """
    if name in sys.modules:
        return
    enabled = gc.isenabled()
    gc.disable()
    try:
        importlib.import_module(name)
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
