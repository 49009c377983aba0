"""Layer 5: a run in its folder, on its devices."""
