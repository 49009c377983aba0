"""Layer 1: what a run is configured by, composed, checked and built."""
