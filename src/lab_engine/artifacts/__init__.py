"""Layer 2: what a run writes: its folder, checkpoints, curves, metrics, environment."""
