"""Layer 1: images as stored arrays: decoding, download, fingerprint."""
