"""Layer 4: the page of a run, and two runs compared."""
