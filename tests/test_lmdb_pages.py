from __future__ import annotations

import random
from pathlib import Path

import lmdb
import pytest

from srsenet_plugin.data.lmdb_pages import find_values


@pytest.mark.parametrize('seed', range(8))
def test_finds_the_values_that_lmdb_finds(tmp_path: Path, seed: int) -> None:
    """In trees of one to three levels, after changes and deletions, with keys and values of all sizes."""
    rng = random.Random(seed)
    expected: dict[bytes, bytes] = {}
    with lmdb.open(str(tmp_path), map_size=1 << 27, writemap=seed % 3 == 0) as env:
        for _ in range(rng.choice([1, 4])):
            with env.begin(write=True) as transaction:
                for _ in range(rng.choice([0, 1, 200, 2000])):
                    key = rng.randbytes(rng.choice([1, 4, 30, 511])) if seed % 2 else f'{rng.randrange(5000)}'.encode()
                    value = rng.randbytes(rng.choice([0, 1, 100, 1900, 2100, 4080, 4081, 9000]))
                    transaction.put(key, value)
                    expected[key] = value
                for key in rng.sample(sorted(expected), len(expected) // 4):
                    transaction.delete(key)
                    del expected[key]
    data = (tmp_path / 'data.mdb').read_bytes()
    found = find_values(tmp_path / 'data.mdb')
    assert list(found) == sorted(expected)
    assert {key: data[offset : offset + size] for key, (offset, size) in found.items()} == expected
