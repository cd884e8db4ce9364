"""The command lazytorch-report."""

import argparse
import logging
import sys
from collections.abc import Sequence

from .reading import one_line
from .writer import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its folder as the last line of stdout.

    Returns:
        0 if something was drawn; 1 if not, after one line on stderr.
    """
    arguments = _parser().parse_args(argv)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("lazytorch-report: %(message)s"))
    logger = logging.getLogger("lazytorch")
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.INFO)
    try:
        print(write_report(arguments.runs, arguments.out, arguments.tensorboard))
    except (OSError, ValueError) as error:
        logger.error("%s", one_line(error))
        return 1
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lazytorch-report",
        description="Figures and tables of runs of any experiments: runs that differ by seed are one point.",
        epilog="OUT receives report.md, report.html (one page, figures in it), table.csv, and the figures that each "
        "experiment declares (of training: accuracy, drift, linearization, curves, grid) as png and pdf.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="run directories, or folders that hold them, such as runs/figure3a"
    )
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="folder of the report; made if missing")
    parser.add_argument(
        "--tensorboard", action="store_true", help="write OUT/tensorboard too: the figures, and curves over alpha"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
