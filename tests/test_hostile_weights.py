"""Files of weights from strangers, through every door: refused in a sentence, in seconds, and nothing in them runs."""

from __future__ import annotations

import builtins
import functools
import io
import json
import logging
import os
import pathlib
import pickle
import resource
import shutil
import struct
import subprocess
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from basicsr.models import build_model
from PIL import Image
from safetensors.torch import save as safetensors_of

from srsenet_plugin import SrSENet, cli
from srsenet_plugin.models import checkpoints
from srsenet_plugin.weights import files, pretrained

NETWORK = {'num_feat': 8, 'num_block': 1, 'reduction': 2, 'upscale': 4}


class Calls:
    """Unpickled, it calls a function."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self._call = function, arguments

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self._call


def gadgets() -> dict[str, Calls]:
    """Each would leave a file or a folder."""
    return {
        'os.mkdir': Calls(os.mkdir, 'canary'),
        'os.system': Calls(os.system, 'touch canary'),
        'subprocess': Calls(subprocess.Popen, ['touch', 'canary']),
        'eval': Calls(builtins.eval, "open('canary', 'w')"),
        'exec': Calls(builtins.exec, "open('canary', 'w')"),
        'open': Calls(builtins.open, 'canary', 'w'),
        'shutil': Calls(shutil.copy, 'photo.png', 'canary'),
        'numpy': Calls(np.save, 'canary', 1),
        'getattr': Calls(getattr, pathlib.Path('canary'), 'touch'),
        'torch.save': Calls(torch.save, 1, 'canary'),
        'torch.hub': Calls(torch.hub.download_url_to_file, 'file:///etc/hostname', 'canary'),
    }


def state(**changes: object) -> dict[str, object]:
    return {**SrSENet(**NETWORK).state_dict(), **changes}


def saved(content: object, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(content, file, **options)
    return file.getvalue()


def rezipped(data: bytes, change: Callable[[str, bytes], bytes | None], **added: bytes) -> bytes:
    """A zip archive with its entries changed, or left out, and others added."""
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, 'w', zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            content = change(name, old.read(name))
            if content is not None:
                new.writestr(name, content)
        for name, content in added.items():
            new.writestr(f'archive/{name}', content)
    return file.getvalue()


def pth_files() -> Iterator[tuple[str, bytes]]:
    """Files that torch.save makes, or might have."""
    for name, gadget in gadgets().items():
        yield f'{name} in a zip archive', saved({'params': gadget})
        yield f'{name} beside weights', saved({'params': state(), 'note': gadget})
        yield f'{name} in an old file', saved({'params': gadget}, _use_new_zipfile_serialization=False)
        yield f'{name} in a bare pickle', pickle.dumps({'params': gadget})
    tensors: dict[str, object] = {
        'no numbers': torch.tensor([float('nan')]),
        'infinity': torch.tensor([float('inf')]),
        'complex numbers': torch.zeros(1, dtype=torch.complex64),
        'another shape': torch.zeros(2),
        'no dimensions': torch.zeros(()),
        'no elements': torch.zeros(0),
        'a sparse tensor': torch.zeros(1).to_sparse(),
        'a number': 3,
        'a text': 'x' * 1000,
        'nothing': None,
    }
    for name, value in tensors.items():
        yield f'{name} for a bias', saved({'params': state(**{'conv_last.bias': value})})
    shapes = {
        'five channels': torch.zeros(8, 5, 3, 3),
        'a terabyte by its strides': torch.zeros(1).expand(2**38, 1, 1, 1),
        'nothing but a shape': torch.zeros(()),
    }
    for name, value in shapes.items():
        yield f'first weights of {name}', saved({'params': state(**{'conv_first.weight': value})})
    yield 'no hidden units', saved({'params': state(**{'body.0.se.fc1.weight': torch.zeros(0, 8)})})
    yield 'a block far away', saved({'params': state(**{'body.999999999.conv1.weight': torch.zeros(8, 8, 3, 3)})})
    yield 'one weight more', saved({'params': state(other=torch.zeros(1))})
    yield 'one weight less', saved({'params': dict(list(state().items())[1:])})
    for name, content in {
        'nothing': {},
        'a list': [torch.zeros(3)],
        'a tensor': torch.zeros(3),
        'a number': 3,
        'names that are numbers': {'params': {1: torch.zeros(3)}},
        'weights in weights': {'params': {'params': state()}},
    }.items():
        yield f'{name} instead of weights', saved(content)
    for name, network_g in {
        'enormous': {'type': 'SrSENet', 'num_feat': 10**6, 'num_block': 10**9},
        'negative': {'type': 'SrSENet', 'num_feat': -8, 'num_block': -1},
        'nonsensical': {'type': 'SrSENet', 'num_feat': 'eight', 3: 4},
        "another network's": {'type': 'RRDBNet', 'num_in_ch': 3, 'num_out_ch': 3},
        'unknown': {'type': 'os.system'},
    }.items():
        yield (
            f'weights that do not fit and {name} options',
            saved({'params': {'x': torch.zeros(1)}, 'network_g': network_g}),
        )

    whole = saved({'params': state()})
    for share in (0.01, 0.3, 0.6, 0.99):
        yield f'cut off at {share}', whole[: int(share * len(whole))]
    yield 'an archive without its weights', rezipped(whole, lambda name, data: None if '/data/' in name else data)
    yield 'an archive with shorter weights', rezipped(whole, lambda name, data: data[:4] if '/data/' in name else data)
    yield 'an archive without its pickle', rezipped(whole, lambda name, data: None if 'pkl' in name else data)
    yield 'an archive with an empty pickle', rezipped(whole, lambda name, data: b'' if 'pkl' in name else data)
    yield 'an archive that expands', rezipped(whole, lambda name, data: data, bomb=bytes(2**28))
    yield 'an archive with a way out', rezipped(whole, lambda name, data: None, **{'../../canary': b''})
    yield 'a TorchScript archive', torchscript()
    yield 'an empty archive', b'PK\x05\x06' + bytes(18)
    yield 'an archive of folders', tar_of('storages')
    yield 'an empty file', b''
    yield 'a byte', b'\x80'
    yield 'zeros', bytes(4096)
    yield 'text', b'conv_last.weight: 0.0\n'
    yield 'HTML', b'<!DOCTYPE html><html><body>404</body></html>'
    yield 'a pickle without end', b'\x80\x02' + b'(' * 100_000
    yield 'a pickle that counts to a terabyte', b'\x80\x04\x95' + struct.pack('<Q', 2**40) + b'N.'
    yield 'a text of a terabyte', b'\x80\x04\x8d' + struct.pack('<Q', 2**40) + b'x.'
    yield 'a pickle that refers to nothing', b'\x80\x02h\x07.'
    yield 'a script in old protocol', b'cos\nsystem\n(S"touch canary"\ntR.'


def torchscript() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), file)
    return file.getvalue()


def tar_of(name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode='w') as archive:
        archive.addfile(tarfile.TarInfo(name))
        archive.addfile(tarfile.TarInfo('../canary'))
    return file.getvalue()


def safetensors_files() -> Iterator[tuple[str, bytes]]:
    """Headers that lie."""
    whole = safetensors_of(SrSENet(**NETWORK).state_dict())

    def with_header(header: object, data: bytes = bytes(64), length: int | None = None) -> bytes:
        text = header if isinstance(header, bytes) else json.dumps(header).encode()
        return struct.pack('<Q', len(text) if length is None else length) + text + data

    def tensor(shape: list[int], start: int, end: int, dtype: str = 'F32') -> dict[str, object]:
        return {'conv_last.bias': {'dtype': dtype, 'shape': shape, 'data_offsets': [start, end]}}

    yield 'a header longer than the file', with_header({}, length=10**6)
    yield 'a header of 2^63 bytes', with_header({}, length=2**63)
    yield 'a header of 2^64 - 1 bytes', with_header({}, length=2**64 - 1)
    yield 'no header', with_header(b'')
    yield 'a header that is a list', with_header([])
    yield 'a header that is no JSON', with_header(b'{"conv_last.bias": ')
    yield 'a header that is no text', with_header(bytes(range(128, 256)))
    yield 'a header that nests', with_header(b'[' * 100_000)
    yield 'no tensors', with_header({}, b'')
    yield 'offsets beyond the end', with_header(tensor([16], 0, 2**40))
    yield 'offsets that run backwards', with_header(tensor([16], 64, 0))
    yield 'negative offsets', with_header(tensor([16], -64, 0))
    yield 'a shape larger than the data', with_header(tensor([2**40], 0, 64))
    yield 'a shape that overflows', with_header(tensor([2**62, 4], 0, 64))
    yield 'a negative shape', with_header(tensor([-16], 0, 64))
    yield 'two gaps', with_header(tensor([1], 30, 34))
    yield 'an unknown dtype', with_header(tensor([16], 0, 64, 'PY'))
    yield 'tensors of one place', with_header({f'x{i}': tensor([16], 0, 64)['conv_last.bias'] for i in range(9)})
    yield 'a tensor of nothing by a lot', with_header(tensor([0, 2**40], 0, 0), b'')
    yield 'metadata that are numbers', with_header({'__metadata__': {'scale': 4}, **tensor([16], 0, 64)})
    yield (
        'a hundred thousand tensors',
        with_header({f'x{i}': tensor([0], 0, 0)['conv_last.bias'] for i in range(100_000)}, b''),
    )
    for share in (0.01, 0.5, 0.99):
        yield f'cut off at {share}', whole[: int(share * len(whole))]
    yield 'an empty file', b''
    yield 'a pickle', pickle.dumps(gadgets()['os.mkdir'])


@functools.cache
def hostile_files(suffix: str) -> dict[str, bytes]:
    return dict(pth_files() if suffix == '.pth' else safetensors_files())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    # BasicSR's logger goes on printing to the stderr of the first test, which has been closed.
    monkeypatch.setattr('basicsr.utils.logger.initialized_logger', {})
    monkeypatch.setattr(logging.getLogger('basicsr'), 'handlers', [])
    Image.new('RGB', (8, 8)).save('photo.png')
    for name in ('GTmod4', 'LRbicx4'):
        Path('datasets/Set5', name).mkdir(parents=True)
        Image.new('RGB', (8, 8) if name == 'LRbicx4' else (32, 32)).save(f'datasets/Set5/{name}/a.png')
    return tmp_path


def in_python(path: str) -> str:
    with pytest.raises(ValueError) as error:  # noqa: PT011
        pretrained.load_network(path)
    return str(error.value)


def command(*arguments: str) -> Callable[[str], None]:
    def run(path: str) -> None:
        assert cli.main([word.replace('{}', path) for word in arguments]) == 1

    return run


def in_the_toolbox(path: str) -> str:
    """What ``basicsr/test.py`` and ``basicsr/train.py`` do with ``pretrain_network_g``."""
    opt = {'name': 'x', 'is_train': False, 'num_gpu': 0, 'dist': False, 'rank': 0, 'world_size': 1, 'scale': 4}
    opt |= {'model_type': 'AcceleratedSRModel', 'network_g': {'type': 'SrSENet', **NETWORK}}
    with pytest.raises(SystemExit) as error:
        build_model(opt | {'path': {'pretrain_network_g': path}})
    return str(error.value.code)


DOORS: dict[str, Callable[[str], str | None]] = {
    'load_network': in_python,
    'basicsr/test.py': in_the_toolbox,
    'srsenet upscale': command('upscale', 'photo.png', '--weights', '{}'),
    'srsenet export': command('export', '--format', 'safetensors', '--weights', '{}', '-o', 'out.safetensors'),
    'srsenet convert': command('convert', '{}', '-o', 'out.pth'),
    'srsenet compare': command(
        *('compare', '--scale', '4', '--archs', 'SrSENet', '--weights', 'SrSENet={}', '--no-timing'),
        *('--benchmarks', 'datasets', '--out', 'compare'),
    ),
    'srsenet compare --models': command(
        *('compare', '--scale', '4', '--models', '{}', '--no-timing', '--benchmarks', 'datasets', '--out', 'compare'),
    ),
}


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('door', DOORS)
@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_refused_in_a_sentence(door: str, suffix: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = hostile_files(suffix)
    if door == 'srsenet compare --models':
        files.pop('weights in weights instead of weights', None)  # spandrel unwraps them
    assert len(files) >= {'.pth': 90, '.safetensors': 25}[suffix]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, content in files.items():
        path = Path(f'x{suffix}')
        path.write_bytes(content)
        start = time.monotonic()
        said = DOORS[door](str(path))
        assert time.monotonic() - start < 10, name
        printed = capsys.readouterr()
        said = said or printed.err
        assert path.name in said, (name, said)
        assert 'Traceback' not in printed.out + printed.err, name
        assert 'weights_only' not in said, (name, said)  # torch's advice to load it unsafely
        assert content == path.read_bytes(), name
        shutil.rmtree('compare', ignore_errors=True)
        assert sorted(os.listdir()) == sorted(['datasets', 'photo.png', path.name]), name
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 500_000  # kB


@pytest.mark.filterwarnings('ignore')
def test_states_are_set_aside(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What ``--auto_resume`` does with training states."""
    states = Path('x/training_states')
    states.mkdir(parents=True)
    for name, content in hostile_files('.pth').items():
        path = states / '1.state'
        path.write_bytes(content)
        try:
            files.load(path)
        except ValueError:
            checkpoints.prepare_to_resume(Path('x'))
            assert '1.state' in capsys.readouterr().err, name
            assert os.listdir(states) == ['1.state.damaged'], name
            (states / '1.state.damaged').unlink()
        else:  # a file of other weights
            path.unlink()
        assert sorted(os.listdir()) == ['datasets', 'photo.png', 'x'], name
