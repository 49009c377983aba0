"""Read operation, shape and arguments of a node of an exported graph."""

from typing import Any

from torch import fx


def operation(node: fx.Node) -> str:
    """Return the name of the operation without its overload: "conv2d" for aten.conv2d.default."""
    name: str = node.target.__name__  # type: ignore[union-attr]
    return name.split(".")[0]


def shape(node: Any) -> tuple[int, ...]:
    """Return the shape of the node's output; empty if the output is a number or several tensors."""
    return tuple(getattr(node.meta.get("val"), "shape", ())) if isinstance(node, fx.Node) else ()


def arguments(node: fx.Node, *names: str) -> dict[str, Any]:
    """Return the given arguments by name; `names` are the parameters of the operation, in order."""
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}
