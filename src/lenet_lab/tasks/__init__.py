"""Tasks: LightningModules that say what happens to a batch, and what is measured."""
