"""Layer 2: what a run leaves: checkpoints, curves, metrics, its folder and environment."""
