"""Contenders take turns, so that a disturbance of the machine hits all of them."""

import math
import sys
import time
from collections.abc import Callable


def alternate(
    contenders: dict[str, Callable[[], float]], repetitions: int, seconds: float = math.inf
) -> dict[str, list[float]]:
    """Call each of them `repetitions` times, in turns; the order rotates.

    Args:
        contenders: by name, a function that returns one measurement.
        repetitions: rounds.
        seconds: no round starts that would not end within this time, except for the first.

    Returns:
        The measurements of each contender, the same number for all.
    """
    names = list(contenders)
    found: dict[str, list[float]] = {name: [] for name in names}
    start = time.perf_counter()
    for repetition in range(repetitions):
        if repetition and (time.perf_counter() - start) * (repetition + 1) / repetition > seconds:
            break
        turn = repetition % len(names)
        for name in names[turn:] + names[:turn]:
            found[name].append(contenders[name]())
            print(f"{repetition + 1}/{repetitions} {name}: {found[name][-1]:.4g}", file=sys.stderr, flush=True)
    return found
