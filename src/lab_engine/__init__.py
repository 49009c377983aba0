"""The engine of a research project: it trains any LightningModule on any LightningDataModule.

A project's package imports the engine; the engine imports no project.
"""

from pathlib import Path

CONF = Path(__file__).with_name("conf")
"""Folder of the engine's own options, which Hydra searches after the project's `conf`."""
