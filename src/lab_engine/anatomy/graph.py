"""What a node of an exported graph says about its operation."""

from typing import Any

from torch import fx


def operation(node: fx.Node) -> str:
    """Name without the overload: "conv2d" for aten.conv2d.default."""
    name: str = node.target.__name__  # type: ignore[union-attr]
    return name.split(".")[0]


def shape(node: Any) -> tuple[int, ...]:
    """Of the tensor that the node gives; of a number, and of several tensors, empty."""
    return tuple(getattr(node.meta.get("val"), "shape", ())) if isinstance(node, fx.Node) else ()


def arguments(node: fx.Node, *names: str) -> dict[str, Any]:
    """Those that were given, by name; `names` are those of the operation, in order."""
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}
