"""Layer 4: image files to predict, and a map laid over an image."""
