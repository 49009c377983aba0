"""Optimizers that torch has not."""
