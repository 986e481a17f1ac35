"""Every setting of an experiment: its name, its default, its range and its meaning, each exactly once.

One module for each section. The docstring under an attribute is its help text on the command line. The settings of a
network, an augmentation or a loss are declared in its own file (`cifar100.config.declarations`). `cifar100.settings`
merges recipe, files and command line into a `Config`, which checks itself: a mistake in `dataclasses.replace(config,
...)` is refused as well.
"""
