"""``python -m lazytorch``."""

from .cli import main

main()
