#!/usr/bin/env bash
# Runs the fast tests with the oldest packages that are supported and with the newest, each in an environment of its own
# below .matrix, and prints how they end.
#   bash scripts/test_matrix.sh                    both
#   bash scripts/test_matrix.sh oldest -k compat   one of them; further arguments go to pytest
# PYTHON names the interpreter.

set -euo pipefail
cd "$(dirname "$0")/.."

declare -A packages=(
    [oldest]="torch==2.1.2 torchvision==0.16.2 numpy==1.26.4 opencv-python==4.8.1.78 lmdb==1.4.1 mmengine==0.10.1"
    [newest]="torch torchvision numpy opencv-python lmdb mmengine"
)

sets="oldest newest"
if [ $# -gt 0 ]; then
    [ -n "${packages[$1]:-}" ] || { echo "error: the sets are: ${!packages[*]}" >&2; exit 1; }
    sets=$1
    shift
fi

rows=()
status=0
for name in $sets; do
    environment=.matrix/$name
    [ -d "$environment" ] || "${PYTHON:-python3}" -m venv "$environment"
    read -ra wanted <<<"${packages[$name]}"
    "$environment/bin/python" -m pip install --upgrade --upgrade-strategy only-if-needed -q "${wanted[@]}" -e '.[test]'
    outcome=$(PATH="$PWD/$environment/bin:$PATH" VIRTUAL_ENV="$PWD/$environment" OMP_NUM_THREADS=1 \
        python -m pytest -n 2 --dist loadfile -m "not slow" "$@" | tee >(cat >&2) | tail -1) || status=1
    versions=$("$environment/bin/python" - "${wanted[@]%%=*}" <<'PYTHON'
import platform
import sys
from importlib.metadata import version

print(' | '.join([platform.python_version(), *(version(name) for name in sys.argv[1:])]))
PYTHON
    )
    rows+=("| $name | $versions | ${outcome//=/} |")
done
echo "| | Python | torch | torchvision | numpy | OpenCV | lmdb | mmengine | fast tests |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
printf '%s\n' "${rows[@]}"
exit $status
