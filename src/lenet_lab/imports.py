"""How torch and Lightning are imported, which is most of the time from Enter to the first step."""

import gc
import importlib
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

AMENDED = "scipy.signal"
"""Where there is SciPy, TorchMetrics imports this module, 580 others with it, to add `hamming` to it, which it lacks.

That is lost: only its metric SRMR would use it, by way of a package that is older than SciPy's change.
"""


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
    if importlib.util.find_spec(AMENDED.partition(".")[0]):
        sys.modules.setdefault(AMENDED, _ImportedAtUse(AMENDED))
    try:
        importlib.import_module(name)
    finally:
        if isinstance(sys.modules.get(AMENDED), _ImportedAtUse):
            del sys.modules[AMENDED]  # whoever asks for it now gets it
        gc.freeze()
        if enabled:
            gc.enable()


class _ImportedAtUse(ModuleType):
    """Stands in for `AMENDED` until something of it is used."""

    hamming = None  # the name in question

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, loader=None)  # so that `importlib.util.find_spec` finds it

    def __getattr__(self, name: str) -> object:
        if name == "__file__":  # asked of every module by `inspect`
            raise AttributeError(name)
        if sys.modules.get(self.__name__) is self:
            del sys.modules[self.__name__]
        return getattr(importlib.import_module(self.__name__), name)
