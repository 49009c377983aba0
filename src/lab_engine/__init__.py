"""The machinery of a research project: it trains any task on any data, and knows none of them.

A project's own package imports it; it imports no project.
"""

from pathlib import Path

CONF = Path(__file__).with_name("conf")
"""Options of the engine's own, which a project finds behind those in its own `conf`."""
