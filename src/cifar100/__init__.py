"""CIFAR-100 training in PyTorch Lightning.

Every command of the command line is a function of `cifar100.commands`. Importing this package imports neither torch
nor Lightning.
"""

__version__ = "0.1.0"
