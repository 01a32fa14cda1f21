"""Names and keys in option files that nobody knows, answered with the nearest known one.

"No object named ..." is BasicSR's most asked question. Its causes are a misspelt name, a project whose files were not
imported, and a second ``basicsr`` on the disk: the project's own, which has the name, and the one that is imported.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import os
import re
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

# What BasicSR calls the entries of its registries, and the folder of the files that register them.
KINDS = {
    'ARCH_REGISTRY': ('network', 'archs'),
    'LOSS_REGISTRY': ('loss', 'losses'),
    'DATASET_REGISTRY': ('dataset', 'data'),
    'MODEL_REGISTRY': ('model', 'models'),
    'METRIC_REGISTRY': ('metric', 'metrics'),
}


def check_names(opt: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each name that no registry has, and each argument that a network or loss does not take.

    Keys that BasicSR would silently overlook are no reason to stop, because a project may read them somewhere: a
    warning names those that are near to a key that is read.

    Args:
        opt: Options as ``parse_options`` returns them.
    """
    for registry, key, section in _registered(opt):
        yield from _name_problems(registry, key, section)
    yield from _choice_problems(opt)
    if opt['rank'] == 0:
        for problem in _overlooked_keys(opt):
            warnings.warn(problem, stacklevel=2)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.7) -> str | None:
    """The known name that somebody may have meant; capitals, hyphens and underscores make no difference.

    Args:
        name: As it was written.
        known: What there is.
        cutoff: How alike they have to be, from 0 to 1.
    """
    plain = {re.sub(r'[\W_]', '', other).lower(): other for other in known}
    found = difflib.get_close_matches(re.sub(r'[\W_]', '', name).lower(), plain, n=1, cutoff=cutoff)
    return plain[found[0]] if found else None


def _registered(opt: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """What the registries are going to be asked for: registry, place in the option file, options with the type."""
    if 'model_type' in opt:
        yield 'MODEL_REGISTRY', 'model_type', {'type': opt['model_type']}
    for key, section in opt.items():
        if key.startswith('network_'):
            yield 'ARCH_REGISTRY', key, section
    for phase, section in opt['datasets'].items():
        yield 'DATASET_REGISTRY', f'datasets: {phase}', section
    for key, section in _mapping(opt.get('train')).items():
        if str(key).endswith('_opt'):
            yield 'LOSS_REGISTRY', f'train: {key}', section
    for name, section in _mapping(_mapping(opt.get('val')).get('metrics')).items():
        yield 'METRIC_REGISTRY', f'val: metrics: {name}', section


def _mapping(section: Any) -> Mapping[str, Any]:
    """A section of the option file; other checks complain of one that has no keys."""
    return section if isinstance(section, Mapping) else {}


def _name_problems(registry_name: str, key: str, section: Any) -> Iterator[str]:
    registry = getattr(importlib.import_module('basicsr.utils.registry'), registry_name, None)
    if registry is None or not isinstance(section, Mapping) or not isinstance(section.get('type'), str):
        return
    name = section['type']
    entries = dict(iter(registry))
    found = entries.get(name) or entries.get(f'{name}_basicsr')
    kind, folder = KINDS[registry_name]
    if found is None:
        known = nearest(name, entries)
        yield (
            f'  {key}: there is no {kind} {name}' + (f'. The nearest name is {known}.' if known else '.')
        ) + _where_it_is(name, folder)
    elif kind in ('network', 'loss'):
        yield from _argument_problems(found, key, section, name)


def _argument_problems(found: Any, key: str, section: Mapping[str, Any], name: str) -> Iterator[str]:
    parameters = inspect.signature(found).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for argument in section:
        if argument != 'type' and argument not in parameters:
            known = nearest(argument, parameters)
            answer = f'the nearest is {known}' if known else f'there are {", ".join(parameters) or "none"}'
            yield f'  {key}: {name} has no option {argument}; {answer}.'


def _choice_problems(opt: Mapping[str, Any]) -> Iterator[str]:
    """Optimizers and schedulers that the model does not compare their names with, where one that it does is near."""
    registry = importlib.import_module('basicsr.utils.registry').MODEL_REGISTRY
    model = dict(iter(registry)).get(opt.get('model_type'))
    train = _mapping(opt.get('train'))
    methods = {key: 'get_optimizer' for key in train if str(key).startswith('optim_')}
    for key, method in {'scheduler': 'setup_schedulers', **methods}.items():
        name = _mapping(train.get(key)).get('type')
        known = {
            word
            for cls in getattr(model, '__mro__', ())
            if method in vars(cls)
            for constant in inspect.unwrap(vars(cls)[method]).__code__.co_consts
            for word in (constant if isinstance(constant, tuple) else (constant,))
            if isinstance(word, str)
        }
        meant = nearest(str(name), (word for word in known if word.isalnum()))
        if name not in known and meant:
            yield f'  train: {key}: there is no {name}. The nearest name is {meant}.'


# Two BasicSRs


def other_toolboxes() -> Iterator[Path]:
    """Folders ``basicsr`` that Python could have imported, or whose script runs, besides the one that is imported."""
    import basicsr

    seen = {os.path.realpath(folder) for folder in basicsr.__path__}
    script = Path(os.path.realpath(sys.argv[0])).parent
    for parent in (script.parent, Path(), *map(Path, sys.path)):
        folder = Path(os.path.abspath(parent / 'basicsr'))
        if os.path.realpath(folder) not in seen and os.path.isfile(folder / 'train.py'):
            seen.add(os.path.realpath(folder))
            yield folder


def warn_of_bypassed_toolbox() -> None:
    """Says so where ``python basicsr/train.py`` of a project imports another ``basicsr`` than the project's own."""
    import basicsr

    for folder in other_toolboxes():
        own = os.path.realpath(sys.argv[0]) == os.path.realpath(folder / os.path.basename(sys.argv[0]))
        if own and _files(folder) != _files(Path(basicsr.__path__[0])):
            warnings.warn(
                f'{sys.argv[0]} imports the basicsr in {basicsr.__path__[0]}, not its own in {folder}, which has other '
                f'files. PYTHONPATH={folder.parent} makes it import its own.',
                stacklevel=2,
            )


def _files(folder: Path) -> set[Path]:
    return {path.relative_to(folder) for path in folder.rglob('*.py')} - {Path('version.py')}


def _where_it_is(name: str, part: str) -> str:
    import basicsr

    for folder in other_toolboxes():
        for path in sorted(folder.joinpath(part).rglob('*.py')):
            if re.search(rf'^(class|def) {re.escape(name)}\b', path.read_text(encoding='utf-8', errors='ignore'), re.M):
                return (
                    f'\n    {path} has it, but the basicsr that is imported is {basicsr.__path__[0]}. '
                    f'PYTHONPATH={folder.parent} imports that one.'
                )
    return ''


# Keys


def _overlooked_keys(opt: Mapping[str, Any]) -> Iterator[str]:
    """Keys that no code mentions and that look like one that is mentioned, such as ``total_iters``."""
    known = _mentioned_words()
    for place, section in _sections(opt):
        for key in section:
            if not isinstance(key, str) or key in known:
                continue
            meant = nearest(key, {word for word in known if abs(len(word) - len(key)) < 4} - set(section), 0.85)
            if meant:
                yield f'Nothing reads the option {place}{key}. The nearest key that is read is {meant}.'


def _sections(opt: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield '', {key: value for key, value in opt.items() if not key.startswith('network_')}
    for name in ('path', 'train', 'val', 'logger'):
        yield f'{name}: ', _mapping(opt.get(name))
    for phase, dataset in opt['datasets'].items():
        yield f'datasets: {phase}: ', dataset


@cache
def _mentioned_words() -> frozenset[str]:
    """The words in quotes in the files of BasicSR, of the plugin and of what has registered itself."""
    registries = importlib.import_module('basicsr.utils.registry')
    packages = {'basicsr', 'srsenet_plugin', '__main__'}
    for name in KINDS:
        packages |= {entry.__module__.partition('.')[0] for _, entry in getattr(registries, name, ())}
    words: set[str] = set()
    for package in packages:
        module = sys.modules.get(package)
        folders = [Path(folder) for folder in getattr(module, '__path__', ())]
        files = [path for folder in folders for path in folder.rglob('*.py')]
        if not folders and getattr(module, '__file__', None):
            files = [Path(module.__file__)]  # type: ignore[union-attr, arg-type]
        for path in files:
            words.update(re.findall(r"""['"](\w+)['"]""", path.read_text(encoding='utf-8', errors='ignore')))
    return frozenset(words)
