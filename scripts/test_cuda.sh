#!/usr/bin/env bash
# Runs the tests that need a CUDA device, measures training, upscaling and loading on it, and writes
# results/cuda_report.md. It takes ten minutes at most, of the environment that is active, and needs no network.

set -uo pipefail
cd "$(dirname "$0")/.."
if ! python -c 'import torch; raise SystemExit(not torch.cuda.is_available())' 2>/dev/null; then
    echo "error: torch finds no CUDA device here, and all that this script runs needs one." >&2
    exit 1
fi
mkdir -p results
report=results/cuda_report.md
status=0

# A part of the report: its title, its limit in seconds, and a command.
part() {
    printf '\n## %s\n\n`%s`\n\n```text\n' "$1" "${*:3}"
    timeout "$2" "${@:3}" 2>&1 || { status=1 && echo "This failed or took more than $2 seconds."; }
    echo '```'
}

{
    echo '# Report of a CUDA device'
    part 'Machine' 20 python - <<'PYTHON'
import importlib.metadata
import platform
import subprocess

import torch

for i in range(torch.cuda.device_count()):
    properties = torch.cuda.get_device_properties(i)
    memory, capability = properties.total_memory / 2**30, f'{properties.major}.{properties.minor}'
    print(f'{properties.name}, {memory:.0f} GiB, compute capability {capability}')
query = ['nvidia-smi', '--query-gpu=driver_version', '--format=csv,noheader']
try:
    driver = subprocess.run(query, capture_output=True, text=True).stdout.strip().partition('\n')[0]
except OSError:
    driver = 'unknown'
print(f'driver {driver}, CUDA {torch.version.cuda}, cuDNN {torch.backends.cudnn.version()}')
print(f'{platform.platform()}, Python {platform.python_version()}')
for name in ('torch', 'triton', 'numpy', 'onnxruntime-gpu', 'onnxruntime', 'srsenet_plugin'):
    try:
        print(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        print(name, 'is not installed')
PYTHON
    part 'Checks' 330 python -m pytest -m cuda -q -W ignore -rfEs --no-header
    export COLUMNS=110
    part 'Training' 150 python scripts/benchmark_train.py 'SrSENet x4' 'SrSENet x4, compile: false' 'SrSENet x4, amp: off'
    part 'Upscaling' 60 python scripts/benchmark_inference.py
    part 'Loading, to be held against the samples per second of training' 40 python scripts/benchmark_data.py loader
} > >(tee "$report")
wait
echo "The report is in $report."
exit $status
