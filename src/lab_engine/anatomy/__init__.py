"""Layer 4: a network layer by layer."""
