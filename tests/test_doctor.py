"""The list of patches, and ``srsenet doctor``, which prints it."""

from __future__ import annotations

import inspect
import os
import re
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from conftest import ROOT

from srsenet_plugin import doctor
from srsenet_plugin.toolbox import compat, loaders, option_checks, patches, registries
from srsenet_plugin.toolbox.patches import PATCHES, Patch


def patch(function: str) -> Patch:
    return Patch(function, (), 'without', 'with', 'always', 'test')


def test_every_patch_says_what_it_did_and_none_failed() -> None:
    import basicsr  # noqa: F401

    reports = patches.apply()
    assert [report.patch for report in reports] == list(PATCHES)
    assert {report.state for report in reports} <= {'active', 'not needed'}
    assert all(report.reason for report in reports)


def test_every_function_that_patches_is_in_the_list() -> None:
    functions = {
        f'{module.__name__.rpartition(".")[2]}.{name}'
        for module in (compat, loaders, option_checks, registries)
        for name, function in inspect.getmembers(module, inspect.isfunction)
        if function.__module__ == module.__name__
        and not inspect.signature(function).parameters
        and function.__annotations__.get('return') == 'tuple[bool, str]'
    }
    assert functions == {patch.function for patch in PATCHES}


def test_every_change_in_basicsr_is_in_the_list() -> None:
    """No function or class of BasicSR is replaced by one that the list does not know."""
    import basicsr  # noqa: F401

    patches.apply()
    listed = [thing for entry in PATCHES for name in entry.changes for thing in resolve(name)]
    replaced = {name for name, thing in things_of_basicsr() if is_replaced(thing)}
    unlisted = {
        name for name, thing in things_of_basicsr() if name in replaced and not any(thing is it for it in listed)
    }
    assert not unlisted

    stock = [thing.__wrapped__ for thing in listed if hasattr(thing, '__wrapped__')]
    left = {name for name, thing in things_of_basicsr() if any(thing is it for it in stock)}
    assert not left, 'imported by name before they were replaced'


def resolve(name: str) -> Iterator[Any]:
    parts = name.split('.')
    for end in range(len(parts), 0, -1):
        thing: Any = sys.modules.get('.'.join(parts[:end]))
        if thing is not None:
            for part in parts[end:]:
                thing = getattr(thing, part, None)
            yield thing
            return


def things_of_basicsr() -> Iterator[tuple[str, Any]]:
    for name, module in list(sys.modules.items()):
        if name.partition('.')[0] == 'basicsr':
            for key, thing in list(vars(module).items()):
                if not key.startswith('__'):
                    yield f'{name}.{key}', thing
                if isinstance(thing, type) and thing.__module__ == name:
                    yield from ((f'{name}.{key}.{part}', value) for part, value in vars(thing).items())


def is_replaced(thing: Any) -> bool:
    if isinstance(thing, types.FunctionType):
        home = sys.modules.get(thing.__globals__.get('__name__', ''))
        copied = home is None or thing.__globals__ is not vars(home)
        return copied or 'srsenet_plugin' in thing.__code__.co_filename
    if isinstance(thing, types.SimpleNamespace):
        return True
    return type(thing).__module__.partition('.')[0] == 'srsenet_plugin'


def test_every_patch_names_a_test() -> None:
    for entry in PATCHES:
        file, _, function = entry.test.partition('::')
        text = (ROOT / 'tests' / file).read_text()
        assert not function or f'def {function}(' in text, entry


def test_the_document_shows_the_list() -> None:
    document = (ROOT / 'docs/basicsr.md').read_text()
    shown = re.search(r'<!-- patches -->\n(.*?)\n<!-- /patches -->', document, re.DOTALL)
    assert shown
    assert shown[1] == patches.markdown_table(), 'python -m srsenet_plugin.toolbox.patches prints the table'


def test_a_patch_that_fails_leaves_the_others_to_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """One warning names each that failed, with the reason."""
    worked = []
    monkeypatch.setattr(compat, 'sound', lambda: worked.append(1) or (True, 'sound'), raising=False)
    monkeypatch.setattr(compat, 'broken', lambda: 1 / 0, raising=False)
    monkeypatch.setattr(
        patches, 'PATCHES', (patch('compat.broken'), patch('no_module.function'), patch('compat.sound'))
    )
    with pytest.warns(UserWarning, match='in part only') as caught:
        reports = patches.apply.__wrapped__()
    assert worked == [1]
    assert [report.state for report in reports] == ['failed', 'failed', 'active']
    assert len(caught) == 1
    message = str(caught[0].message)
    assert 'broken (ZeroDivisionError: division by zero)' in message
    assert 'function (ModuleNotFoundError: ' in message
    assert '`srsenet doctor`' in message


def lacking_module() -> None:
    import basicsr.no_module  # noqa: F401


def lacking_name() -> None:
    from basicsr.utils.registry import NO_REGISTRY  # noqa: F401


def lacking_attribute() -> None:
    from basicsr.utils import options

    options.no_function()


@pytest.mark.parametrize(
    ('function', 'missing'),
    [
        (lacking_module, 'basicsr.no_module'),
        (lacking_name, 'NO_REGISTRY in basicsr.utils.registry'),
        (lacking_attribute, 'no_function in basicsr.utils.options'),
    ],
)
def test_what_a_copy_of_basicsr_lacks_is_left_out(monkeypatch: pytest.MonkeyPatch, function: Any, missing: str) -> None:
    """Without a warning, because a project that carries such a copy needs no more."""
    monkeypatch.setattr(compat, 'lacking', function, raising=False)
    monkeypatch.setattr(patches, 'PATCHES', (patch('compat.lacking'),))
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        (report,) = patches.apply.__wrapped__()
    assert (report.state, report.reason) == ('left out', f'this basicsr has no {missing}')


def test_doctor_prints_every_patch(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv('COLUMNS', '300')
    failed = patches.Report(patch('compat.broken'), 'failed', 'ValueError: [no markup]')
    reports = (*patches.apply(), failed)
    monkeypatch.setattr(patches, 'apply', lambda: reports)
    doctor.print_report()
    rows = {row.split('│')[1].strip(): row for row in capsys.readouterr().out.splitlines() if row.count('│') == 5}
    for report in reports:
        assert report.state in rows[report.patch.name]
        assert report.reason in rows[report.patch.name]
        assert report.patch.needed in rows[report.patch.name]


def test_doctor_without_basicsr(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, 'basicsr', None)
    doctor.print_report()
    printed = capsys.readouterr().out
    assert 'BasicSR cannot be imported. ModuleNotFoundError' in printed
    assert 'torch' in printed


def test_doctor_names_a_second_basicsr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
) -> None:
    import basicsr

    (tmp_path / 'basicsr').mkdir()
    (tmp_path / 'basicsr/train.py').touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('COLUMNS', '300')
    doctor.print_report()
    printed = capsys.readouterr().out
    assert f'Not imported is {tmp_path / "basicsr"}. PYTHONPATH={tmp_path} imports that one.' in printed
    assert f'BasicSR: {os.path.dirname(basicsr.__file__)}' in printed
