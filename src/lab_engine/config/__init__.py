"""Layer 1: the configuration of a run: composed, checked, and built into objects."""
