"""What others have written, option files and ``--force_yml``, as plain values: no code, and no more than they need."""

from __future__ import annotations

import argparse
import ast
import re
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import IO, Any

import yaml

# The longest of our own files has 5 kB and 170 values, 5 deep.
MAX_CHARACTERS = 10**6
MAX_VALUES = 10**5
MAX_DEPTH = 50


class OptionLoader(yaml.SafeLoader):
    """Reads plain YAML, and mappings as OrderedDict.

    It is PyYAML's loader in Python: the one in C, which BasicSR takes, crashes where values nest deeply. Refused are
    files that are long, nest deeply or, by aliases, become large when they are printed or copied.

    Raises:
        yaml.YAMLError: The text is refused, is not YAML, or has something else where BasicSR expects keys.
    """

    def __init__(self, stream: str | IO[str]) -> None:
        text = stream if isinstance(stream, str) else stream.read(MAX_CHARACTERS + 1)
        if len(text) > MAX_CHARACTERS:
            raise yaml.YAMLError(f'it has more than {MAX_CHARACTERS} characters.')
        super().__init__(text)
        self.name = getattr(stream, 'name', self.name)  # in messages

    def get_single_node(self) -> yaml.Node | None:
        try:
            node = super().get_single_node()
            if node is not None:
                _count(node, 0, {})
        except RecursionError:
            raise yaml.YAMLError(f'it nests deeper than {MAX_DEPTH} levels.') from None
        return node

    def get_single_data(self) -> dict[str, Any]:
        opt = super().get_single_data()
        for name, section in _sections(opt):
            if not isinstance(section, dict):
                raise yaml.YAMLError(f'{name} has no keys, but {section!r:.50}.')
        return opt


def _sections(opt: Any) -> Iterator[tuple[str, Any]]:
    """What BasicSR takes for mappings without a look."""
    yield 'it', opt
    for name in ('datasets', 'path'):
        if name in opt:
            yield name, opt[name]
    for phase, dataset in opt.get('datasets', {}).items():
        yield f'{phase} of datasets', dataset


def _construct_ordered_dict(loader: yaml.SafeLoader, node: yaml.MappingNode) -> OrderedDict[Any, Any]:
    loader.flatten_mapping(node)  # merge keys (<<), which stock BasicSR leaves in place
    return OrderedDict(loader.construct_pairs(node))


OptionLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_ordered_dict)


def _count(node: yaml.Node, depth: int, counts: dict[int, int | None]) -> int:
    """How many values a node is, aliases written out."""
    if depth > MAX_DEPTH:
        raise yaml.YAMLError(f'it nests deeper than {MAX_DEPTH} levels.')
    if isinstance(node, yaml.ScalarNode):
        return 1
    if id(node) not in counts:
        counts[id(node)] = None  # until it is known
        children = node.value if isinstance(node, yaml.SequenceNode) else [part for pair in node.value for part in pair]
        counts[id(node)] = 1 + sum(_count(child, depth + 1, counts) for child in children)
    count = counts[id(node)]
    if count is None:
        raise yaml.YAMLError('it has a value that contains itself.')
    if count > MAX_VALUES:
        raise yaml.YAMLError(f'its aliases stand for more than {MAX_VALUES} values.')
    return count


def check_forced(arguments: Sequence[str]) -> None:
    """Looks at what ``--force_yml`` gives: BasicSR runs keys as code, and values that start with a bracket.

    Args:
        arguments (Sequence[str]): Of the command line.

    Raises:
        ValueError: An entry is not ``a:b=value`` with names and a plain value.
    """
    for entry in _forced(arguments):
        keys, equals, value = (part.strip() for part in entry.partition('='))
        if not equals or '=' in value or not re.fullmatch(r'[\w.+-]+(:[\w.+-]+)*', keys):
            raise ValueError(f'--force_yml takes entries such as train:optim_g:lr=0.001, not {entry!r}.')
        if not _is_plain(value):
            raise ValueError(f'--force_yml takes plain values and lists of them, not {value!r}.')


def _forced(arguments: Sequence[str]) -> list[str]:
    # BasicSR's own options, so that abbreviations mean the same here.
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False)
    for name in ('-opt', '--launcher', '--local_rank'):
        parser.add_argument(name)
    for name in ('--auto_resume', '--debug'):
        parser.add_argument(name, action='store_true')
    parser.add_argument('--force_yml', nargs='+', default=[])
    try:
        return parser.parse_known_args(arguments)[0].force_yml
    except argparse.ArgumentError:  # BasicSR's parser will say so
        return []


def _is_plain(value: str) -> bool:
    try:
        if value.startswith('['):
            ast.literal_eval(value)
        elif value.startswith('!!float'):
            float(value.replace('!!float', ''))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return False
    return True
