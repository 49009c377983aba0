"""How hypothesis looks for inputs: the same ones each time, unless HYPOTHESIS_PROFILE=search asks for new ones."""

import os

from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, max_examples=5000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def examples(count: int) -> settings:
    """Ask for so many examples, or for as many as the search does."""
    return settings(max_examples=max(count, settings().max_examples if "HYPOTHESIS_PROFILE" in os.environ else 0))
