"""From files to batches: sources, the store of decoded images, loaders, the data module."""
