#!/usr/bin/env bash
# Write requirements.lock anew: every Python package that hipgw and its tools use, at one version each. What only the
# pictures of the benches need goes to requirements-bench.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
pip=("$scratch/venv/bin/python" -m pip --quiet --disable-pip-version-check)
wanted() { # tables of pyproject.toml
    "$scratch/venv/bin/python" - "$@" <<'PYTHON'
import sys, tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
tables = {"": project["dependencies"], **project["optional-dependencies"]}
print("\n".join(line for name in sys.argv[1:] for line in tables[name]))
PYTHON
}
frozen() {
    echo "# Written by tools/lock.sh; do not edit."
    "${pip[@]}" freeze --exclude-editable | sort -f
}
wanted "" dev >"$scratch/in.txt"
"${pip[@]}" install --requirement "$scratch/in.txt"
frozen >requirements.lock
wanted bench >"$scratch/in.txt"
"${pip[@]}" install --requirement "$scratch/in.txt" --constraint requirements.lock
frozen | grep -vxF --file=<(tail -n +2 requirements.lock) >requirements-bench.lock
