"""Layer 4: show a network layer by layer."""
