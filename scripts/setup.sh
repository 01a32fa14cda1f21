#!/usr/bin/env bash
# Installs the plugin and BasicSR into the active environment, or into .venv, which it makes if there is none; and links
# BasicSR as ./basicsr, so that `python basicsr/train.py -opt ...` works and its results stay in this folder.
#   bash scripts/setup.sh [test]     with what the tests need
# quickstart.sh and test.sh source it. Running it again does what is missing.

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

fail() {
    echo "error: $*" >&2
    exit 1
}

if [ -z "${VIRTUAL_ENV:-}${CONDA_PREFIX:-}" ]; then
    python=${PYTHON:-python3}
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
        fail "'$python' is no Python 3.10 or newer. Install one, or name it: PYTHON=python3.12 bash $0"
    if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
        echo "Making the environment .venv"
        "$python" -m venv --clear .venv ||
            fail "cannot make .venv. On Debian and Ubuntu the package python3-venv has to be installed."
    fi
    source .venv/bin/activate
fi
environment=${VIRTUAL_ENV:-$CONDA_PREFIX}

extras=${1:+[$1]}
stamp="$environment/.srsenet_plugin_installed$extras"
if [ "$(cat "$stamp" 2>/dev/null)" != "$PWD" ] || [ setup.py -nt "$stamp" ] || [ pyproject.toml -nt "$stamp" ] ||
    ! python -m pip show -q srsenet_plugin; then
    echo "Installing srsenet_plugin$extras into $environment"
    python -m pip install -e ".$extras" ||
        fail "pip could not install srsenet_plugin$extras; its last lines say why. Running this script again carries on."
    srsenet install-basicsr || fail "BasicSR is missing in $environment; the lines above say why."
    echo "$PWD" >"$stamp"
fi

# A clone of BasicSR standing here is left alone.
if [ -L basicsr ] || [ ! -e basicsr ]; then
    # -I: a working folder on sys.path would find its own link.
    folder=$(python -I -c 'from importlib.util import find_spec; print(find_spec("basicsr").submodule_search_locations[0])' \
        2>/dev/null) || fail "BasicSR is missing in $environment. Run: srsenet install-basicsr, and then this script again."
    ln -sfn "$folder" basicsr
fi
