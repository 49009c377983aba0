"""LeNet on CIFAR-10 with PyTorch Lightning and Hydra: a program to use, a template to start from.

Importing this package imports nothing else, so that a command can refuse its arguments without waiting for torch.
"""

__version__ = "0.1.0"
