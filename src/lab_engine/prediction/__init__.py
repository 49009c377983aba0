"""Layer 4: find the image files to predict, and draw heat maps over images."""
