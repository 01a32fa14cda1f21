"""Prints the cost of the import hook at the start of every Python: the time of the line in srsenet_plugin.pth, in fresh
interpreters, and the modules that it imports."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path

RUNS = 51
# -S and site imported by hand: the state in which Python reads .pth files, without those of this environment.
MEASURE = """
import json, site, sys, time
sys.path.insert(0, sys.argv[1])
line = open(sys.argv[1] + '/srsenet_plugin/srsenet_plugin.pth').read()
before = set(sys.modules)
start = time.perf_counter()
exec(line)
seconds = time.perf_counter() - start
print(json.dumps([seconds, sorted(set(sys.modules) - before)]))
"""


def main() -> None:
    command = [sys.executable, '-S', '-c', MEASURE, str(Path(__file__).resolve().parents[1])]
    runs = [json.loads(subprocess.check_output(command)) for _ in range(RUNS)]
    milliseconds = statistics.median(seconds for seconds, _ in runs) * 1000
    print(f'start-up cost: {milliseconds:.2f} ms (median of {RUNS} interpreters)')
    print(f'modules imported: {", ".join(runs[-1][1])}')


if __name__ == '__main__':
    main()
