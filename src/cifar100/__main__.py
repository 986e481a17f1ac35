"""`python -m cifar100` and the script `cifar100`."""

from cifar100.cli.main import main

if __name__ == "__main__":
    main()
