"""The ``srsenet`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from srsenet_plugin.version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``srsenet ...`` and returns its exit status."""
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except (ValueError, OSError) as error:
        print(f'srsenet: {error}', file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='srsenet', description='SrSENet super-resolution for BasicSR.')
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)

    doctor = commands.add_parser('doctor', help='print versions, and what is mended in BasicSR and why')
    doctor.set_defaults(run=_doctor)

    prepare = commands.add_parser('prepare', help='make training and benchmark data from HR images')
    kinds = prepare.add_subparsers(metavar='KIND', required=True)
    div2k = kinds.add_parser('div2k', help='DIV2K_train_HR.lmdb and DIV2K_train_LR_bicubic_X{2,4,8}.lmdb')
    div2k.set_defaults(run=_pack_folder, name='DIV2K_train')
    folder = kinds.add_parser('folder', help='the same for any folder of images')
    folder.add_argument('--name', required=True, help="start of the LMDBs' names")
    folder.set_defaults(run=_pack_folder)
    benchmark = kinds.add_parser('benchmark', help='folders GTmod{2,4,8} and LRbicx{2,4,8} for testing')
    benchmark.set_defaults(run=_make_benchmark)
    for kind in (div2k, folder, benchmark):
        kind.add_argument('--source', type=Path, required=True, help='folder of HR images')
        kind.add_argument('--out', type=Path, required=True, help='folder to make the data in')
        kind.add_argument('--scales', type=_scale, nargs='+', default=[2, 4, 8], help='default: 2 4 8')
    return parser


def _scale(text: str) -> int:
    try:
        scale = int(text)
    except ValueError:
        scale = 0
    if scale < 2:
        raise argparse.ArgumentTypeError(f'a scale is an integer of at least 2, not {text}')
    return scale


# Each command imports what it needs, so that none pays for the others.


def _doctor(args: argparse.Namespace) -> None:
    from srsenet_plugin import doctor

    doctor.print_report()


def _pack_folder(args: argparse.Namespace) -> None:
    from srsenet_plugin.data import prepare

    _print_paths(prepare.pack_folder(args.source, args.out, args.name, args.scales))


def _make_benchmark(args: argparse.Namespace) -> None:
    from srsenet_plugin.data import prepare

    _print_paths(prepare.make_benchmark(args.source, args.out, args.scales))


def _print_paths(paths: Sequence[Path]) -> None:
    for path in paths:
        print(path)
