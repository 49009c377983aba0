"""Layer 7: the front door of every command."""
