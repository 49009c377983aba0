"""The folder of a run or a sweep: made before anything is written, and taken back if nothing was."""

from contextlib import suppress
from pathlib import Path

from lenet_lab.errors import UserError

LEFT_BY_HYDRA = (".jobs.lock", "multirun.yaml", "sweep.log")
"""Files of a sweep that no job belongs to."""


class RunFolder:
    """A folder that this command is about to use.

    Args:
        path: of the folder.
        key: by which the user chooses it.

    Raises:
        UserError: it cannot be made.
    """

    def __init__(self, path: Path, key: str) -> None:
        self.path = path.absolute()
        self._made = [folder for folder in (self.path, *self.path.parents) if not folder.exists()]
        self._before = {file.name for file in self.path.iterdir()} if self.path.is_dir() else set()
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self.take_back()
            raise UserError(
                f"{key}={path} cannot be made: {error.strerror}. Choose another folder with {key}=DIR."
            ) from error

    def take_back(self) -> None:
        """Remove what this command has made, unless there is something in it by now."""
        new = [file for file in self.path.iterdir() if file.name not in self._before] if self.path.is_dir() else []
        if {file.name for file in new} <= {*LEFT_BY_HYDRA}:
            for file in new:
                file.unlink()
        with suppress(OSError):  # another command may have begun to use it
            for folder in self._made:
                if folder.exists():
                    folder.rmdir()
