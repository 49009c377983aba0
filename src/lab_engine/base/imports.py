"""Imports of large packages: torch and Lightning take most of the time from Enter to the first step."""

import atexit
import gc
import importlib
import sys
from typing import Any


def import_quickly(name: str) -> Any:
    """Import a module and all that it needs, such as torch and Lightning, with the garbage collector paused.

    The collector would look through the many new objects again and again, and free almost nothing. Afterwards it
    ignores them, so that processes that are forked later can share their memory.

    Args:
        name: "module", or "module:attribute".

    Returns:
        The module or the attribute.
    """
    if name.partition(":")[0] in sys.modules:
        return _resolve(name)
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _resolve(name)
    finally:
        gc.freeze()
        if "torch" in sys.modules and sys.modules["torch"].__version__ >= (2, 15):
            # else its Triton reports leaked objects when Python exits, so that exit takes a second longer
            atexit.register(gc.unfreeze)
        if enabled:
            gc.enable()


def _resolve(name: str) -> Any:
    module, _, attribute = name.partition(":")
    found = importlib.import_module(module)  # pkgutil.resolve_name would hide why it cannot be imported
    return getattr(found, attribute) if attribute else found
