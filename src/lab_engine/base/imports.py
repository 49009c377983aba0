"""How torch and Lightning are imported, which is most of the time from Enter to the first step."""

import gc
import pkgutil
import sys
from typing import Any


def import_quickly(name: str) -> Any:
    """Import a module with all that it needs, such as torch and Lightning, before anything else does.

    The garbage collector waits meanwhile: it would look through a million objects dozens of times, a seventh of the
    time, and find next to nothing. It leaves these objects alone from now on, which also lets processes that are
    forked later share their memory.

    Args:
        name: "module", or "module:attribute".

    Returns:
        What it names.
    """
    if name.partition(":")[0] in sys.modules:
        return pkgutil.resolve_name(name)
    enabled = gc.isenabled()
    gc.disable()
    try:
        return pkgutil.resolve_name(name)
    finally:
        gc.freeze()
        if enabled:
            gc.enable()
