"""Facts about the training data's loaders."""

from lightning.pytorch import Trainer


def are_stateful(trainer: Trainer) -> bool:
    """Return whether all training loaders have a state, so that a run can resume in the middle of an epoch."""
    combined = trainer.fit_loop._combined_loader
    return combined is not None and all(hasattr(each, "load_state_dict") for each in combined.flattened)
