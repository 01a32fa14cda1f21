"""Commands that are to write where nothing can be written; trainings are in train_under_faults.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import run, write_photo

# In one process, because imports take seconds.
COMMANDS = """
from srsenet_plugin import cli
for command in (
    'upscale photos/cat.png -o big.png',
    'upscale photos/cat.png',
    'export -s 4 --format torchscript',
    'export -s 4 --format safetensors -o new/x4.safetensors',
    'prepare folder --source photos --name photos --out datasets --scales 4',
    'prepare benchmark --source photos --out datasets --scales 4',
    'compare --scale 4 --archs Bicubic --no-timing',
):
    assert cli.main(command.split()) == 1, command
"""


def test_commands_say_what_cannot_be_written(tmp_path: Path) -> None:
    write_photo('chelsea.png', tmp_path / 'photos/cat.png', (60, 100, 120, 130))
    before = sorted(tmp_path.rglob('*'))
    mount = f'mount --bind {tmp_path} {tmp_path} && mount -o remount,bind,ro {tmp_path} && cd {tmp_path}'
    namespace = ['unshare', '-rm', 'bash', '-c']
    if subprocess.run([*namespace, mount], capture_output=True).returncode:
        pytest.skip('nothing can be mounted here')
    printed = run([*namespace, f'{mount} && exec "$@"', 'bash', sys.executable, '-c', COMMANDS])
    lines = [line for line in printed.splitlines() if 'Read-only file system' in line]
    assert [line.strip() for line in lines] == [
        'photos/cat.png (big.png: Read-only file system)',
        'photos/cat.png (photos/cat_x4.png: Read-only file system)',
        'srsenet: srsenet_x4.pt: Read-only file system',
        'srsenet: new: Read-only file system',
        'srsenet: datasets: Read-only file system',
        'srsenet: datasets: Read-only file system',
        'srsenet: results: Read-only file system',
    ]
    assert 'Traceback' not in printed
    assert sorted(tmp_path.rglob('*')) == before
