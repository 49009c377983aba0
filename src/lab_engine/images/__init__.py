"""Layer 1: images as arrays on disk: download, decoding, fingerprint."""
