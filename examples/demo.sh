#!/bin/sh
# Load ResNet-101 by its name from an empty Hub. Then convert it into ./hub, verify and load it.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

say python examples/first_use.py

if ! say detrex-hub convert-and-push r101_v2 --to ./hub; then
    echo
    echo "The original could not be downloaded. This demo uses SYNTHETIC numbers instead."
    echo "It shows the whole job, but the result detects nothing."
    say detrex-hub convert-and-push r101_v2 --to ./hub --synthetic
fi
say detrex-hub verify ./hub/detrex/r101_v2
say python examples/load.py ./hub/detrex/r101_v2
