"""Layer 4: a module for other programs."""
