"""Where curves, hyperparameters and results go, beside the run folder's own files."""
