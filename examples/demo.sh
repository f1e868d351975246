#!/bin/sh
# Convert ResNet-101 into ./hub and load it in a training config.
set -eu
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m$ %s\033[0m\n' "$*"; "$@"; }

if ! say detrex-hub convert-and-push r101_v2 --to ./hub; then
    echo
    echo "The original could not be downloaded from here, so SYNTHETIC numbers take its place:"
    echo "the whole job is shown, and the result detects nothing."
    say detrex-hub convert-and-push r101_v2 --to ./hub --synthetic
fi
say detrex-hub verify ./hub/detrex/r101_v2
say python examples/load.py ./hub/detrex/r101_v2
