"""Shapes and types that annotations name (`Float[Tensor, "B C H W"]`), checked at each call while tests run."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import jaxtyping
from beartype import beartype
from jaxtyping import install_import_hook

PACKAGE = "lenet_lab"


class _Config(type(jaxtyping.config)):
    """Jaxtyping's settings; what PyTorch follows to compile, export or draw a network is not to hold the checks."""

    @property
    def jaxtyping_disable(self) -> bool:
        torch = sys.modules.get("torch")
        if torch is None:
            return False
        return torch.compiler.is_compiling() or torch.jit.is_tracing()

    @jaxtyping_disable.setter
    def jaxtyping_disable(self, value: bool) -> None:
        pass


def check_shapes() -> None:
    """Have beartype check what is annotated with jaxtyping, in all that is imported of the project from now on.

    Commands are left out: what `python -m` runs would be kept, checks and all, as the module's ordinary bytecode.
    """
    root = Path(importlib.util.find_spec(PACKAGE).origin).parent
    modules = [
        ".".join((PACKAGE, *file.relative_to(root).with_suffix("").parts))
        for file in root.rglob("*.py")
        if "from jaxtyping import" in (text := file.read_text()) and "__main__" not in text
    ]
    jaxtyping.config.__class__ = _Config
    install_import_hook(modules, f"{__name__}.{only_shapes.__name__}")


def only_shapes(function: Callable[..., object]) -> Callable[..., object]:
    """Have beartype check arrays only: Hydra gives lists where a tuple will do, and whole numbers for floats."""
    hints = function.__annotations__
    function.__annotations__ = {name: hint for name, hint in hints.items() if "jaxtyping" in repr(hint)}
    return beartype(function)
