#!/usr/bin/env bash
# Write requirements.lock anew: every Python package that hipgw and its tools use, at one version each.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch/venv"
"$scratch/venv/bin/python" - >"$scratch/in.txt" <<'PYTHON'
import tomllib
project = tomllib.load(open("pyproject.toml", "rb"))["project"]
print("\n".join(project["dependencies"] + project["optional-dependencies"]["dev"]))
PYTHON
"$scratch/venv/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$scratch/in.txt"
{
    echo "# Written by tools/lock.sh; do not edit."
    "$scratch/venv/bin/python" -m pip freeze --disable-pip-version-check --exclude-editable | sort -f
} >requirements.lock
