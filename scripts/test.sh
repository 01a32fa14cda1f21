#!/usr/bin/env bash
# Installs what is missing, checks style and types, and runs all tests. Arguments go to pytest:
#   bash scripts/test.sh
#   bash scripts/test.sh -m "not slow"     the fast ones only

# The tests' extras go in without becoming pytest's arguments.
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" test

ruff check . || fail "ruff found what is listed above; most of it is mended by: ruff check --fix ."
ruff format --check . || fail "the files listed above are not formatted; run: ruff format ."
mypy || fail "the type checker found what is listed above."
echo '== All tests took 25 minutes on two cores, beside other work.'
# Two files at a time, on one thread each: most tests start commands, whose imports keep one processor busy.
OMP_NUM_THREADS=1 python -m pytest -n 2 --dist loadfile --no-loadscope-reorder "$@"
