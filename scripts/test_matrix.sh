#!/usr/bin/env bash
# Runs the fast tests on each supported Python that is on this machine, with the newest packages, and on the oldest Python
# also with the oldest packages: the lower bounds in pyproject.toml. Prints how they end as a table.
#   bash scripts/test_matrix.sh                          all
#   bash scripts/test_matrix.sh 3.10-oldest -k compat    one of them; further arguments go to pytest
# Each has an environment of its own below .matrix, of several GB with CUDA's torch.

set -euo pipefail
cd "$(dirname "$0")/.."

rows="3.10-oldest 3.10-newest 3.11-newest 3.12-newest 3.13-newest 3.14-newest"
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    [[ " $rows " == *" $1 "* ]] || { echo "error: the rows are: $rows" >&2; exit 1; }
    rows=$1
    shift
fi
packages="torch torchvision numpy opencv-python lmdb mmengine"

# An interpreter of that version: on the PATH, or one that pyenv has but does not put there.
find_python() {
    local candidate
    for candidate in "python$1" "$(pyenv prefix "$1" 2>/dev/null)/bin/python"; do
        if [ "$("$candidate" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)" = "$1" ]; then
            echo "$candidate"
            return
        fi
    done
    return 1
}

lower_bounds() {
    python - <<'PYTHON'
from importlib.metadata import requires

for requirement in requires('srsenet_plugin'):
    if 'extra ==' not in requirement:
        print(requirement.replace('>=', '=='))
PYTHON
}

install() {
    if [ "$1" = oldest ]; then
        python -m pip install -q --no-deps -e . &&
            lower_bounds >"$VIRTUAL_ENV/oldest.txt" &&
            export PIP_CONSTRAINT="$VIRTUAL_ENV/oldest.txt" || return # which holds for what pip builds, too
    fi
    python -m pip install -q --upgrade --upgrade-strategy eager -e '.[test]' && srsenet install-basicsr
}

versions() {
    python - $packages <<'PYTHON'
import platform
import sys
from importlib.metadata import PackageNotFoundError, version


def installed(name):
    try:
        return version(name)
    except PackageNotFoundError:
        return 'none'


print(' | '.join([platform.python_version(), *map(installed, sys.argv[1:])]))
PYTHON
}

table=()
status=0
for row in $rows; do
    if ! interpreter=$(find_python "${row%-*}"); then
        echo "Python ${row%-*} is not on this machine: $row is left out" >&2
        continue
    fi
    export VIRTUAL_ENV=$PWD/.matrix/$row
    [ -d "$VIRTUAL_ENV" ] || "$interpreter" -m venv "$VIRTUAL_ENV"
    outcome=$(
        export PATH="$VIRTUAL_ENV/bin:$PATH" OMP_NUM_THREADS=1
        { install "${row#*-}" && python -m pytest -n 2 --dist loadfile -m "not slow" "$@"; } 2>&1 | tee >(cat >&2) | tail -1
    ) || status=1
    table+=("| $row | $(PATH="$VIRTUAL_ENV/bin:$PATH" versions) | ${outcome//=/} |")
done
echo "| | Python | torch | torchvision | numpy | OpenCV | lmdb | mmengine | fast tests |"
echo "| --- | --- | --- | --- | --- | --- | --- | --- | --- |"
printf '%s\n' "${table[@]}"
exit $status
