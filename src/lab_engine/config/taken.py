"""Groups of the configuration that neither task nor data take."""

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from lab_engine.base.errors import UserError
from lab_engine.base.wording import shown

OF_THE_PROGRAM = {"hydra", "task", "data", "trainer", "speed", "callbacks", "logger", "launcher", "sweeper", "choices"}
"""Groups that the program itself uses."""


def untaken(composed: DictConfig, words: Sequence[str], choices: Mapping[str, Any]) -> set[str]:
    """Return the groups that nothing takes; none where there is no task yet, as in commands that read a checkpoint.

    Args:
        composed: whole.
        words: of the command line.
        choices: the option of each group.

    Raises:
        UserError: a word sets a key of a group that nothing takes.
    """
    task, data = composed.get("task"), composed.get("data")
    if task is None or "_target_" not in task:  # it is in a checkpoint that is not read yet
        return set()
    taken = {*(task.get("takes") or ()), *((data or {}).get("takes") or ())}
    groups = {str(key) for key in composed if isinstance(composed._get_node(key), DictConfig)}
    left = groups - OF_THE_PROGRAM - taken
    for word in words:
        group = word.lstrip("+~").partition("=")[0].partition(".")[0].partition("@")[0].partition("/")[0]
        if group in left:
            raise UserError(
                f"{shown(word)} is refused: neither task={choices.get('task')} nor data={choices.get('data')} takes "
                f"{group}\nThey take: {', '.join(sorted(taken)) or 'nothing'}"
            )
    return left
