"""The network is for ``srsenet prepare div2k --download`` and ``srsenet fetch`` alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from conftest import run, write_photo

# Raises in the process that asks, and in its forks. Unix sockets, between loader workers, are no network.
OFFLINE = """
import runpy, sys

def refuse(event, arguments):
    if event.startswith(('socket.getaddrinfo', 'socket.gethostby', 'urllib.')) or (
        event in ('socket.connect', 'socket.sendto') and isinstance(arguments[1], tuple)
    ):
        raise RuntimeError(f'{event} {arguments[1:]}')

sys.addaudithook(refuse)
import socket
try:
    socket.create_connection(('localhost', 9))
except RuntimeError:
    print('refused')
from srsenet_plugin import cli, load_pretrained
load_pretrained(2)
assert cli.main(['upscale', 'photo.png', '-s', '8']) == 0
assert cli.main(['export', '-s', '2', '--format', 'safetensors']) == 0
sys.argv = ['basicsr/train.py', *sys.argv[1:]]
runpy.run_path('basicsr/train.py', run_name='__main__')
"""


@pytest.mark.slow
def test_nothing_asks_the_network(workspace: Path) -> None:
    write_photo('coffee.png', workspace / 'photo.png', (50, 100, 20, 20))
    options = ['train:total_iter=2', 'datasets:train:batch_size_per_gpu=2', 'datasets:train:dataset_enlarge_ratio=3']
    small = ['network_g:num_feat=8', 'network_g:num_block=1', 'network_g:reduction=2', 'name=offline']
    command = [sys.executable, '-c', OFFLINE, '-opt', 'options/train_SrSENet_x4.yml', '--force_yml', *options, *small]
    printed = run(command, workspace)
    assert printed.startswith('refused')
    assert (workspace / 'experiments/offline/models/net_g_latest.pth').exists()
