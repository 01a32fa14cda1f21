"""Option files and --force_yml from strangers: plain values, or a sentence."""

from __future__ import annotations

import io
import sys
import time
from pathlib import Path

import pytest
import yaml
from basicsr.utils import options

from srsenet_plugin.toolbox.option_checks import OptionError
from srsenet_plugin.toolbox.option_text import OptionLoader, check_forced


def bomb(levels: int, merge: bool = False) -> str:
    """Each level names the one before nine times."""
    lines = ['a0: &a0 {k: v}']
    for level in range(1, levels):
        names = ', '.join([f'*a{level - 1}'] * 9)
        lines.append(
            f'a{level}: &a{level} {{<<: [{names}], k{level}: v}}' if merge else f'a{level}: &a{level} [{names}]'
        )
    return '\n'.join(lines)


HOSTILE_TEXTS = {
    'aliases': (bomb(12), 'aliases stand for more than 100000 values'),
    'merged aliases': (bomb(12, merge=True), 'aliases stand for more than 100000 values'),
    'a value in itself': ('a: &a [*a]', 'contains itself'),
    'a mapping in itself': ('a: &a {b: *a}', 'contains itself'),
    '60 lists': ('a: ' + '[' * 60 + ']' * 60, 'nests deeper than 50'),
    '10 MB of lists': ('a: ' + '[' * 10**7, 'more than 1000000 characters'),
    'half a MB of lists': ('a: ' + '[' * 500_000, ''),
    'half a MB of mappings': ('{a: ' * 125_000, ''),
    'half a MB of indentation': ('\n'.join(' ' * i + 'a:' for i in range(1000)), ''),
    'half a MB of keys': ('? ' * 250_000, ''),
    'half a MB of dashes': ('- ' * 250_000, ''),
    'a Python object': ('!!python/object/apply:os.system [touch canary]', 'could not determine a constructor'),
    'a Python name': ('a: !!python/name:os.system', 'could not determine a constructor'),
    'a Python module': ('a: !!python/module:os', 'could not determine a constructor'),
    'a Python tuple': ('a: !!python/tuple [1]', 'could not determine a constructor'),
}


@pytest.mark.parametrize('name', HOSTILE_TEXTS)
def test_hostile_option_files_end_in_a_sentence(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, message = HOSTILE_TEXTS[name]
    monkeypatch.chdir(tmp_path)
    Path('opt.yml').write_text(text)
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'opt.yml'])
    start = time.process_time()  # the clock would count other work, too
    with pytest.raises(OptionError, match='The option file cannot be read') as error:
        options.parse_options('.')
    assert message in str(error.value.code)
    assert time.process_time() - start < 10
    assert [path.name for path in tmp_path.iterdir()] == ['opt.yml']


def test_ordinary_aliases_and_merges_work() -> None:
    text = 'a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: [*a, *a]'
    for stream in (text, io.StringIO(text)):
        loaded = yaml.load(stream, Loader=OptionLoader)
        assert loaded == {'a': {'x': 1, 'y': 2}, 'b': {'x': 1, 'y': 3}, 'c': [{'x': 1, 'y': 2}] * 2}


@pytest.mark.parametrize(
    'entry',
    [
        'name=x"]=__import__("os").system("touch canary")#',
        'name"];open("canary","w");opt["name=x',
        'name=[__import__("os").system("touch canary")]',
        'name=[x for x in ().__class__.__base__.__subclasses__()]',
        'name=[0]*10**10',
        'name=[open("canary", "w")]',
        'name=' + '[' * 5000,
        'name=!!float(1)',
        'name',
        'name=a=b',
        '=1',
        'name::x=1',
        'name:=1',
        'name\nimport os=1',
    ],
)
@pytest.mark.parametrize('flag', ['--force_yml', '--force'])
def test_forced_code_is_refused(entry: str, flag: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path('opt.yml').write_text('name: x\nmanual_seed: 0\n')
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', 'opt.yml', flag, 'manual_seed=1', entry])
    with pytest.raises(OptionError, match='--force_yml takes'):
        options.parse_options('.')
    assert [path.name for path in tmp_path.iterdir()] == ['opt.yml']


@pytest.mark.parametrize(
    ('entry', 'value'),
    [
        ('a:b=1', 1),
        ('a:b=0.5', 0.5),
        ('a:b=!!float1e-4', 1e-4),
        ('a:b=~', None),
        ('a:b=true', True),
        ('a:b=[1, 2.5, "x", None]', [1, 2.5, 'x', None]),
        ('a:b=experiments/net g_5000.pth', 'experiments/net g_5000.pth'),
        ('a:b=s3://bucket/x', 's3://bucket/x'),
        ('a:b=C:\\data (1)', 'C:\\data (1)'),
    ],
)
def test_plain_values_are_forced_as_ever(
    entry: str, value: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / 'opt.yml'
    path.write_text('{name: x, manual_seed: 0, num_gpu: 0, datasets: {}, path: {}, a: {b: before}}')
    monkeypatch.setattr(sys, 'argv', ['test.py', '-opt', str(path), '--force_yml', entry])
    assert options.parse_options('.', is_train=False)[0]['a']['b'] == value


def test_other_arguments_are_not_looked_at() -> None:
    check_forced(['-opt', 'x', '--launcher', 'none', '--debug', 'name=[__import__("os")]'])
