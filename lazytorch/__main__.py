"""``python -m lazytorch``."""

from lazytorch.cli import main

main()
