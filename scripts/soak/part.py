"""The result of a part of the soak, and its table."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Part:
    """The result of a part.

    Attributes:
        promise: the tested promise, as a clause.
        facts: figures, by name.
        failures: how the promise was broken, a line each.
    """

    promise: str
    facts: dict[str, float | int | str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """For the file."""
        return asdict(self)

    def sentence(self) -> str:
        """Sum it up in a line."""
        facts = ", ".join(
            f"{name} {value:,}" if isinstance(value, int) else f"{name} {value}" for name, value in self.facts.items()
        )
        return f"{f'failed {len(self.failures)} times' if self.failures else 'as promised'}: {facts}"


def markdown(machine: Mapping[str, Any], parts: Mapping[str, Part]) -> str:
    """Return the machine, and a table of the parts."""
    versions = machine["versions"]
    shown = ", ".join(
        f"{name} {versions[name]}" for name in ("python", "torch", "lightning", "numpy") if name in versions
    )
    lines = [
        (
            f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gb']} GB; {machine['system']}; {shown}; "
            f"commit {str(machine['git']['commit'])[:12]}; load before {machine['load']:.1f}; {machine['started']}"
        ),
        "",
        "| promise | figures | failures |",
        "| --- | --- | ---: |",
    ]
    for part in parts.values():
        facts = "; ".join(
            f"{name}: {value:,}" if isinstance(value, int) else f"{name}: {value}" for name, value in part.facts.items()
        )
        lines.append(f"| {part.promise} | {facts} | {len(part.failures)} |")
    for part in parts.values():
        lines += [f"- {failure}" for failure in part.failures]
    return "\n".join(lines) + "\n"
