#!/usr/bin/env bash
# Trains with several processes of this machine, one for each CUDA device, or on the CPU where there is none.
#   bash scripts/dist_train.sh NUM_PROC OPTION_FILE [more arguments of basicsr/train.py]

set -euo pipefail
if [ $# -lt 2 ] || ! [ "$1" -ge 1 ] 2>/dev/null; then
    echo "usage: bash scripts/dist_train.sh NUM_PROC OPTION_FILE [more arguments of basicsr/train.py]" >&2
    exit 2
fi
if [ ! -e basicsr/train.py ]; then
    echo "error: there is no basicsr/train.py in $PWD. Run this in the project's folder, after: bash scripts/setup.sh" >&2
    exit 1
fi
exec torchrun --standalone --nproc_per_node="$1" basicsr/train.py -opt "$2" --launcher pytorch "${@:3}"
