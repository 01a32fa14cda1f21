#!/usr/bin/env bash
# Runs projects that are built on BasicSR without the plugin and with it, and prints a table of how that ends.
#   bash scripts/test_projects.sh HAT Real-ESRGAN DAT     checkouts; they stay as they are
# For each it imports the project and looks for registered names, trains a tiny network for four iterations by the
# project's own train.py, with a validation, and resumes. `python` is the one on the PATH. Logs stay in .projects, or in
# the folder that LOGS names.

set -euo pipefail
[ $# -gt 0 ] || { echo "usage: bash scripts/test_projects.sh FOLDER..." >&2; exit 1; }
scripts=$(cd "$(dirname "$0")" && pwd)
logs=${LOGS:-$scripts/../.projects}
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1} CUDA_VISIBLE_DEVICES= PYTHONWARNINGS=ignore

# The train.py of a project: that of its own basicsr, or the one that calls BasicSR's.
entry_script() {
    if [ -f basicsr/train.py ]; then
        echo basicsr/train.py
    else
        grep -lE '^from basicsr.train import' ./*/train.py ./train.py 2>/dev/null | head -n1
    fi
}

# Runs one step and its check. The first step that fails is named, with the last line of its log.
step() {
    local name=$1 pattern=$2
    shift 2
    if timeout 900 "$@" >"$log.$name" 2>&1 && grep -qE "$pattern" "$log.$name"; then
        passed+=("$name")
    else
        local reason done="${passed[*]}"
        reason=$(grep -E '^[A-Za-z_.]*(Error|Exception|Exit|Interrupt)\b' "$log.$name" | tail -n1 | cut -c-110)
        [ -n "$reason" ] || reason=$(tail -n1 "$log.$name" | cut -c-110)
        echo "${done// /, }${done:+; }**$name fails**: \`${reason//|/\\|}\`" |
            sed "s#$work/[01]/##g; s#/[^ ]*/site-packages/##g"
        return 1
    fi
}

# All steps, in the copy of a project.
#   outcome NETWORK PLUGIN    the type of its network; whether the plugin is there
outcome() {
    local script launcher=() resume=()
    local start=(python)
    passed=()
    script=$(entry_script)
    [ -n "$script" ] || { echo '**fails**: there is no train.py that calls BasicSR'; return; }
    # What the project's train.py imports is there, and the plugin's networks with it.
    step import '^(registered|no registry)$' python - <<PYTHON || return 0
import runpy
runpy.run_path('$script', run_name='imported')
try:
    from basicsr.utils.registry import ARCH_REGISTRY
except ImportError:
    print('no registry')
else:
    import basicsr.archs
    assert '$1' in ARCH_REGISTRY, '$1 is not registered'
    assert ('SrSENet' in ARCH_REGISTRY) == bool($2), 'SrSENet is registered: %s' % ('SrSENet' in ARCH_REGISTRY)
    print('registered')
PYTHON
    # Old copies validate in a process group alone, and resume without being asked.
    if [ -d basicsr ] && [ ! -f basicsr/__init__.py ]; then
        start=(python -m torch.distributed.run --standalone --nproc_per_node=1)
        launcher=(--launcher pytorch)
    elif [ ! -d basicsr ] || grep -rq auto_resume basicsr; then
        resume=(--auto_resume)
    fi
    step train 'End of training' "${start[@]}" "$script" -opt tiny.yml "${launcher[@]}" || return 0
    step validation 'psnr: *[0-9]' cat "$log.train" || return 0
    rm -f experiments/tiny/training_states/4.state
    step resume 'Resuming training from epoch.*iter: 2' \
        "${start[@]}" "$script" -opt tiny.yml "${launcher[@]}" "${resume[@]}" || return 0
    local done="${passed[*]}"
    echo "${done// /, }"
}

echo "| project | commit | without the plugin | with the plugin |"
echo "| --- | --- | --- | --- |"
status=0
for project in "$@"; do
    name=$(basename "$(cd "$project" && pwd)")
    commit=$(git -C "$project" rev-parse --short HEAD 2>/dev/null || echo '')
    results=()
    for plugin in 0 1; do
        copy=$work/$plugin/$name
        mkdir -p "$copy"
        tar -C "$project" --exclude=.git --exclude='*.pth' --exclude=.eggs --exclude=./experiments --exclude=./results -cf - . | tar -C "$copy" -xf -
        log=$logs/$name.$plugin
        rm -f "$log".*
        results+=("$(
            cd "$copy"
            export SRSENET_PLUGIN_AUTOLOAD=$plugin PYTHONPATH=$copy
            # Installing a project writes its version.py.
            [ ! -f setup.py ] || python setup.py --version >"$log.version" 2>&1 || true
            if network=$(python "$scripts/tiny_options.py" . 2>&1 | tail -n1) && [ -f tiny.yml ]; then
                outcome "$network" "$plugin"
            else
                echo "**fails**: $network"
            fi
        )")
        rm -rf "$copy"
    done
    case ${results[1]} in *fails*) status=1 ;; esac
    echo "| $name | $commit | ${results[0]} | ${results[1]} |"
done
exit $status
