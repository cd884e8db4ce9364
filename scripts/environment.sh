# shellcheck shell=bash
# Sourced by the scripts, which then work in the checkout. `use_environment [extra]` sets `python` to an interpreter with
# the requirements of lazytorch and of the extra: the active one if it has them, left as it is, else that of .venv.

CDPATH='' cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
# Threads that spin while they wait make small networks ten times slower where processes share the cores.
export OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"
python=$(command -v python3 || command -v python || true)

fail() {
    echo "lazytorch: $1" >&2
    exit 1
}

# Prints the first requirement that is not met.
check_requirements() {
    "$python" - "$@" 2>&1 <<'PYTHON'
import sys
from importlib.metadata import PackageNotFoundError, version

try:
    from packaging.requirements import Requirement

    try:
        import tomllib
    except ImportError:  # Python 3.10, where pytest brings tomli
        import tomli as tomllib
except ImportError as error:
    sys.exit(f"no {error.name}")

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
requirements = project["dependencies"] + [
    line for extra in sys.argv[1:] for line in project["optional-dependencies"][extra]
]
for requirement in map(Requirement, requirements):
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        sys.exit(f"no {requirement.name}")
    if not requirement.specifier.contains(found, prereleases=True):
        sys.exit(f"{requirement.name} {found}, not {requirement.specifier}")
try:
    import torchvision  # noqa: F401  fails if it was built for another torch
except Exception as error:
    sys.exit(f"torchvision does not import: {error}")
PYTHON
}

use_environment() {
    local unmet
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "no Python 3.10 or newer (${python:-neither python3 nor python is on PATH}): install one and put it first on PATH"
    unmet=$(check_requirements "$@") && return

    echo "lazytorch: $python will not do (${unmet##*$'\n'}); using $PWD/.venv" >&2
    if [[ ! -e .venv ]]; then
        "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$python has no venv module: install it (on Debian and Ubuntu: apt install python3-venv)"
        # Over an interpreter that has what lazytorch itself needs, the extras alone are installed.
        local over=
        # shellcheck disable=SC2119
        check_requirements >/dev/null && over=--system-site-packages
        "$python" -m venv ${over:+"$over"} .venv
    fi
    python=$PWD/.venv/bin/python
    # The copy tells whether pyproject.toml has changed since.
    if ! cmp -s pyproject.toml .venv/pyproject.toml; then
        "$python" -m pip install --editable '.[dev,docs]' >&2 ||
            fail "could not install into $PWD/.venv: see above; if it is damaged, delete it and run again"
        cp pyproject.toml .venv/pyproject.toml
    fi
}
