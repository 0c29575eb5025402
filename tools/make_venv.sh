#!/bin/sh
# Make .venv and install this package into it with the extras named ("local" or "local,dev"), at the pinned versions.
set -eu
extras=$1
if [ -z "${PYTHON:-}" ]; then
    echo "Python 3.11 or later is needed and was not found. On Debian or Ubuntu: apt-get install python3" >&2
    exit 1
fi
if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    echo "Making .venv with $($PYTHON --version) …" >&2
    if ! $PYTHON -m venv --clear .venv >/dev/null 2>&1; then
        # Debian's python3 comes without ensurepip.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq >/dev/null && apt-get install -y -qq python3-venv >/dev/null
            $PYTHON -m venv --clear .venv
        else
            echo "Python's venv module is incomplete. On Debian or Ubuntu: sudo apt-get install python3-venv" >&2
            exit 1
        fi
    fi
fi
echo "Installing active-call[$extras] …" >&2
.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint requirements/lock.txt --editable ".[$extras]"
.venv/bin/python -m compileall -q -j 0 src # else the first start does, and each one where the environment forbids bytecode
