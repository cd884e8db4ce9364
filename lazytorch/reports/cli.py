"""The command lazytorch-report."""

import argparse
import sys
from collections.abc import Sequence

from lazytorch.reports.report import write_report


def main(argv: Sequence[str] | None = None) -> int:
    """Write the report and print its folder as the last line; an error is one line on stderr and status 1."""
    arguments = _parser().parse_args(argv)
    try:
        print(write_report(arguments.runs, arguments.out))
    except (OSError, ValueError) as error:
        print(f"lazytorch-report: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lazytorch-report",
        description="Figures and tables of runs: runs that differ by seed are one point, by alpha one line.",
        epilog="OUT receives report.md, table.csv, and accuracy, drift and curves as png and pdf.",
    )
    parser.add_argument(
        "runs", nargs="+", metavar="RUNS", help="run directories, or folders that hold them, such as runs/figure3a"
    )
    parser.add_argument("-o", "--out", required=True, metavar="OUT", help="folder of the report; made if missing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
