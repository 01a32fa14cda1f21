from __future__ import annotations

import sys

import pytest
from conftest import run_python

PAGE_FAULTS = """
import resource
import torch
from srsenet_plugin.machine import allocator

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(16_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident():
    pages = int(open('/proc/self/statm').read().split()[1])
    return pages * resource.getpagesize()

print(faults())
allocator.keep_freed_memory()
faults()
print(faults())
kept = resident()
allocator.return_free_memory()
print(kept - resident())
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='glibc')
def test_memory_is_kept_until_it_is_returned() -> None:
    """Ten times 64 MB: pages come from the system each time, or never again."""
    by_default, kept, returned = map(int, run_python(PAGE_FAULTS).split())
    assert by_default > 10 * 64e6 / 2e6  # of 2 MB, if the system has huge ones
    assert kept < by_default / 10
    assert returned > 60e6
