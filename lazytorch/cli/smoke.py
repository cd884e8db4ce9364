"""``python -m lazytorch.cli.smoke X``: the overrides that make experiment=X tiny, one a line."""

import sys

from ..experiments.compose import find_experiment
from .application import CONF
from .arguments import composed


def main() -> None:
    """Print what the experiment's class has in ``smoke``."""
    target = composed(CONF, [f"experiment={sys.argv[1]}"]).get("_target_")
    print("\n".join(find_experiment(target).smoke))


if __name__ == "__main__":
    main()
