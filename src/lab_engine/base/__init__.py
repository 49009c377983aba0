"""Layer 0: errors, text, files, git, signals, random state, devices, pictures."""
