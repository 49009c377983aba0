"""LeNet on CIFAR-10 with PyTorch Lightning and Hydra: a program to use, a template to start from.

Importing this package imports nothing else: torch is paid for when the work starts.
"""

__version__ = "0.1.0"
