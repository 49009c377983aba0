"""What a run can know of its training data's loaders."""

from lightning.pytorch import Trainer


def are_stateful(trainer: Trainer) -> bool:
    """Return whether the loaders of the training data say where in an epoch they are, so that it can be resumed."""
    combined = trainer.fit_loop._combined_loader
    return combined is not None and all(hasattr(each, "load_state_dict") for each in combined.flattened)
