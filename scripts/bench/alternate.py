"""Taking turns, so that what disturbs the machine for a while disturbs all that are compared."""

import math
import sys
import time
from collections.abc import Callable


def alternate(
    contenders: dict[str, Callable[[], float]], repetitions: int, seconds: float = math.inf
) -> dict[str, list[float]]:
    """Call each of them `repetitions` times, in turns; the order rotates.

    Args:
        contenders: names, and what gives one measurement.
        repetitions: rounds.
        seconds: no round begins that would not end within them; the first one always does.

    Returns:
        The measurements of each, equally many of all.
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
