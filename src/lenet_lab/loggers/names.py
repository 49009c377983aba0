"""What a run is called where many lie side by side."""

from pathlib import Path


def run_name(folder: Path) -> str:
    """Give the name of a run folder; of a job, after that of its sweep."""
    return f"{folder.parent.name}/{folder.name}" if (folder / "job.json").exists() else folder.name
