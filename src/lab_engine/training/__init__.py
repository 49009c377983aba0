"""Layer 3: the Trainer, its callbacks, loop and loggers, and what is shown meanwhile."""
