"""The ``srsenet`` command."""

from __future__ import annotations

import argparse
import gc
import io
import math
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from srsenet_plugin.compare.protocols import PROTOCOLS
from srsenet_plugin.version import __version__

if TYPE_CHECKING:
    from torch import nn

    from srsenet_plugin.prepare.packing import Prepared


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command line ``srsenet ...`` and returns its exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')  # as stderr: a name of any bytes is printed
    args = _parser().parse_args(argv)
    try:
        args.run(args)
    except OSError as error:
        return _fail(error if error.filename is None else f'{error.filename}: {error.strerror}')
    except ValueError as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        if error.name != 'basicsr':
            raise
        return _fail(error)  # the import hook's, which says how to install it
    except KeyboardInterrupt:
        return _fail('interrupted', 130)
    return 0


def _fail(message: object, status: int = 1) -> int:
    print(f'srsenet: {message}', file=sys.stderr)
    return status


# argparse's own name for what add_subparsers returns is private.
_Commands = Any


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog='srsenet', description='SrSENet super-resolution for BasicSR.')
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = parser.add_subparsers(metavar='COMMAND', required=True)
    _add_upscale(commands)
    _add_export(commands)
    _add_doctor(commands)
    _add_install_basicsr(commands)
    _add_fetch(commands)
    _add_convert(commands)
    _add_compare(commands)
    _add_board(commands)
    _add_explain(commands)
    _add_prepare(commands)
    return parser


def _add_upscale(commands: _Commands) -> None:
    parser = commands.add_parser('upscale', help='upscale photographs')
    parser.add_argument('inputs', nargs='+', metavar='IN', help='images, folders of images, or patterns')
    size = parser.add_mutually_exclusive_group()
    size.add_argument('-s', '--scale', type=_factor, default=4.0, help='any number greater than 1; default: 4')
    size.add_argument('--width', type=_positive, metavar='PIXELS', help='width of the results')
    size.add_argument('--height', type=_positive, metavar='PIXELS', help='height of the results')
    parser.add_argument(
        '-o', '--out', type=Path, help='folder, or file for a single image; default: NAME_x4.png beside the image'
    )
    parser.add_argument(
        '--format', choices=('png', 'same'), default='png', help="of results in folders: png, or the image's own"
    )
    parser.add_argument('--overwrite', action='store_true', help='replace files that are there')
    parser.add_argument(
        '--weights',
        metavar='FILE',
        help="weights of SrSENet, or a name of the package's such as srsenet_x4; default: the package's",
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:1, xpu, mps ...; default: auto')
    parser.add_argument(
        '--precision',
        choices=('auto', 'fp32', 'bf16', 'fp16', 'int8'),
        default='auto',
        help="auto: int8 for the package's weights, else bf16, each where the device computes in it; bf16 and fp16 "
        'save memory everywhere, int8 saves most',
    )
    parser.add_argument(
        '--self-ensemble', action='store_true', help='mean over eight flips and turns: a little better, 8 times slower'
    )
    parser.add_argument(
        '--tile', type=_positive, metavar='PIXELS', help='upscale in tiles: still less memory, but not the same result'
    )
    parser.add_argument('--max-pixels', type=_positive, metavar='N', help="refuse larger images; default: Pillow's")
    parser.set_defaults(run=_upscale)


def _add_export(commands: _Commands) -> None:
    parser = commands.add_parser('export', help='write the network for other tools')
    parser.add_argument('-s', '--scale', type=_scale, default=4, help="of the package's weights; default: 4")
    parser.add_argument(
        '--format', choices=('onnx', 'torchscript', 'pt2', 'safetensors'), required=True, help="pt2 is torch.export's"
    )
    parser.add_argument(
        '--color',
        '--colour',
        choices=('rgb', 'net'),
        default='net',
        help="rgb: RGB in and out; net: what the network takes, which is Y for the package's; default: net",
    )
    parser.add_argument(
        '--precision',
        choices=('fp32', 'fp16', 'int8'),
        default='fp32',
        help="fp16: half the size of the file; int8: a quarter, for onnx with the package's weights; default: fp32",
    )
    parser.add_argument('--weights', metavar='FILE', help="weights of SrSENet; default: the package's")
    parser.add_argument('-o', '--out', type=Path, metavar='FILE', help='default: srsenet_x4.onnx and so on')
    parser.set_defaults(run=_export)


def _add_doctor(commands: _Commands) -> None:
    parser = commands.add_parser('doctor', help='print versions, and each patch of BasicSR with its reason')
    parser.set_defaults(run=_doctor)


def _add_install_basicsr(commands: _Commands) -> None:
    parser = commands.add_parser('install-basicsr', help='install BasicSR, which training, testing and comparing need')
    parser.set_defaults(run=_install_basicsr)


def _add_fetch(commands: _Commands) -> None:
    parser = commands.add_parser('fetch', help="download the weights of compared networks' authors, for compare")
    parser.add_argument('archs', nargs='*', metavar='ARCH', help='LapSRN, VDSR, SRCNN or FSRCNN; default: all')
    parser.set_defaults(run=_fetch)


def _add_convert(commands: _Commands) -> None:
    parser = commands.add_parser('convert', help='make published weights readable for BasicSR')
    parser.add_argument('source', metavar='FILE', help='LapSRN, VDSR, SRCNN or FSRCNN: .mat, .pth or .safetensors')
    parser.add_argument('-o', '--out', type=Path, required=True, metavar='FILE.pth')
    parser.set_defaults(run=_convert)


def _add_compare(commands: _Commands) -> None:
    parser = commands.add_parser('compare', help='compare architectures: costs, PSNR and SSIM, pictures')
    parser.add_argument('--scale', type=_scale, nargs='+', default=[2, 4, 8], metavar='SCALE', help='default: 2 4 8')
    parser.add_argument(
        '--archs', nargs='+', default=[], metavar='ARCH', help='registered architectures, or option files'
    )
    parser.add_argument(
        '--import',
        dest='projects',
        nargs='+',
        default=[],
        metavar='MODULE',
        help='import modules that register architectures, such as my_project.archs; those of the working folder too',
    )
    parser.add_argument('--benchmarks', type=Path, metavar='FOLDER', help='what prepare benchmark has made')
    parser.add_argument(
        '--weights', type=_assignment, nargs='+', default=[], metavar='NAME=FILE', help='{scale} stands for the scale'
    )
    parser.add_argument(
        '--models',
        type=_named_file,
        nargs='+',
        default=[],
        metavar='[NAME=]FILE',
        help='files that need no architecture: .onnx, and weights that spandrel recognises',
    )
    parser.add_argument(
        '--results',
        type=_assignment,
        nargs='+',
        default=[],
        metavar='NAME=FOLDER',
        help='finished images; {benchmark} too',
    )
    parser.add_argument(
        '--protocol',
        choices=(*PROTOCOLS, 'authors'),
        help=f'how images are made and scored: {"; ".join(f"{p.name}, {p.users}" for p in PROTOCOLS.values())}; '
        'authors, for each method that of its own; default: uint8, or authors with --paper',
    )
    parser.add_argument(
        '--paper',
        action='store_true',
        help="show the paper's Table I beside, by default of all its methods",
    )
    parser.add_argument('--no-timing', action='store_true', help='do not measure time and memory')
    parser.add_argument(
        '--square',
        type=_positive,
        metavar='PIXELS',
        help="give the costs of an RGB image of so many LR pixels a side too; NTIRE's challenges take 256",
    )
    parser.add_argument(
        '--html',
        type=_positive,
        nargs='?',
        const=0,
        metavar='PIXELS',
        help='write a page to look at, OUT/compare.html, with whole images; or, of each, with the square of so many '
        'pixels a side where bicubic interpolation fails most',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:1 ...; default: auto')
    parser.add_argument(
        '--out', type=Path, default=Path('results/compare'), metavar='FOLDER', help='default: results/compare'
    )
    parser.set_defaults(run=_compare)


def _add_board(commands: _Commands) -> None:
    parser = commands.add_parser('board', help='merge pages that compare --html has written')
    parser.add_argument(
        'pages', type=Path, nargs='+', metavar='PAGE', help='pages, or folders that compare has written'
    )
    parser.add_argument(
        '-o', '--out', type=Path, default=Path('board.html'), metavar='FILE', help='default: board.html'
    )
    parser.set_defaults(run=_board)


def _add_explain(commands: _Commands) -> None:
    parser = commands.add_parser(
        'explain',
        help='say which protocol a figure is by, which program made LR images, and whether HR images are usual',
    )
    parser.add_argument(
        'subject',
        metavar='WHAT',
        help='folder of upscaled images, of LR images or, without --benchmark, of HR images; or a network: '
        'architecture, option file, .onnx file, or weights that spandrel recognises',
    )
    parser.add_argument('--benchmark', type=Path, metavar='FOLDER', help='its HR images, or what prepare made of them')
    parser.add_argument('-s', '--scale', type=_scale, help='of upscaled images, and of architectures')
    parser.add_argument(
        '--claimed', type=_figure, nargs='+', metavar='FIGURE', help='PSNR, SSIM or both, such as 35.76 0.9372'
    )
    parser.add_argument('--weights', metavar='FILE', help='of an architecture')
    parser.add_argument(
        '--import', dest='projects', nargs='+', default=[], metavar='MODULE', help='as compare --import does'
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda:1 ...; default: auto')
    parser.set_defaults(run=_explain)


def _add_prepare(commands: _Commands) -> None:
    prepare = commands.add_parser('prepare', help='make training and benchmark data from HR images')
    kinds = prepare.add_subparsers(metavar='KIND', required=True)
    div2k = kinds.add_parser('div2k', help='DIV2K_train_HR.lmdb and DIV2K_train_LR_bicubic_X{2,4,8}.lmdb')
    origin = div2k.add_mutually_exclusive_group()
    origin.add_argument('--source', help='folder or zip archive of the HR images; default: OUT/DIV2K_train_HR.zip')
    origin.add_argument('--download', action='store_true', help='fetch that archive first, if it is not there')
    div2k.set_defaults(run=_prepare_div2k)
    folder = kinds.add_parser('folder', help='the same for any images')
    folder.add_argument('--name', required=True, help="start of the LMDBs' names")
    folder.set_defaults(run=_prepare_folder)
    benchmark = kinds.add_parser('benchmark', help='folders GTmod{2,4,8} and LRbicx{2,4,8} for testing')
    benchmark.set_defaults(run=_prepare_benchmark)
    for kind in (folder, benchmark):
        kind.add_argument(
            '--source', required=True, help="folder or zip archive of HR images, or a URI that mmengine's fileio reads"
        )
    for kind in (div2k, folder, benchmark):
        kind.add_argument('--out', type=Path, required=True, help='folder to make the data in')
        kind.add_argument(
            '--scales', type=_scale, nargs='+', action=_Different, default=[2, 4, 8], help='default: 2 4 8'
        )
        kind.add_argument('--skip-bad', action='store_true', help='leave out images that cannot be used, and list them')
    for kind in (div2k, folder):
        kind.add_argument(
            '--downsizes',
            type=_downsize,
            nargs='+',
            action=_Different,
            default=[1],
            metavar='SIZE',
            help="take each image at these sizes, as the paper's authors do at 1 0.7 0.5; default: 1",
        )
        kind.add_argument(
            '--color', '--colour', choices=('rgb', 'y'), default='rgb', help='y: the Y channel alone; default: rgb'
        )
        kind.add_argument('--encoding', choices=('ppm', 'png'), default='ppm', help='png is smaller and slower to read')
        kind.add_argument('--gt-size', type=_positive, default=96, help='refuse images smaller than this; default: 96')
    verify = kinds.add_parser('verify', help='check LMDBs of images: keys, shapes and checksums')
    verify.add_argument('lmdbs', type=Path, nargs='+', metavar='LMDB')
    verify.set_defaults(run=_verify)
    for kind in (div2k, folder, benchmark, verify):
        kind.add_argument('--workers', type=_positive, help='threads; default: one for each processor')


class _Different(argparse.Action):
    """Refuses a value that is named twice: one of the two was meant to be another."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, option: str | None = None
    ) -> None:
        twice = [str(value) for value in dict.fromkeys(values) if values.count(value) > 1]
        if twice:
            raise argparse.ArgumentError(self, f'{", ".join(twice)} is named twice')
        setattr(namespace, self.dest, values)


def _scale(text: str) -> int:
    try:
        scale = int(text)
    except ValueError:
        scale = 0
    if scale < 2:
        raise argparse.ArgumentTypeError(f'a scale is an integer of at least 2, not {text}')
    return scale


def _factor(text: str) -> float:
    try:
        factor = float(text)
    except ValueError:
        factor = 0
    if not 1 < factor < math.inf:
        raise argparse.ArgumentTypeError(f'a scale is a number greater than 1, not {text}')
    return factor


def _downsize(text: str) -> float:
    try:
        downsize = float(text)
    except ValueError:
        downsize = 0
    if not 0 < downsize <= 1:
        raise argparse.ArgumentTypeError(f'a downsize is greater than 0 and at most 1, not {text}')
    return downsize


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f'an integer of at least 1 is expected, not {text}')
    return int(text)


def _assignment(text: str) -> tuple[str, str]:
    name, equals, value = text.partition('=')
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f'NAME=PATH is expected, not {text}')
    return name, value


def _figure(text: str) -> str:
    try:
        figure = float(text)
    except ValueError:
        figure = 0
    if not 0 < figure < math.inf or not text.replace('.', '').isdecimal():
        raise argparse.ArgumentTypeError(f'a figure is a number such as 35.76 or 0.9372, not {text}')
    return text


def _named_file(text: str) -> tuple[str, str]:
    return _assignment(text) if '=' in text and not Path(text).exists() else (Path(text).stem, text)


# Each command imports what it needs, so that none pays for the others.


def _doctor(args: argparse.Namespace) -> None:
    from srsenet_plugin import doctor

    doctor.print_report()


def _install_basicsr(args: argparse.Namespace) -> None:
    from srsenet_plugin.toolbox import installation

    print(installation.install_basicsr())


@contextmanager
def _plain_warnings() -> Iterator[None]:
    """Within it, warnings are lines without the place in the code."""
    with warnings.catch_warnings():
        warnings.showwarning = lambda message, *_: print(message, file=sys.stderr)
        yield


@contextmanager
def _imports_of_torch() -> Iterator[None]:
    """Python's collector would go through torch's modules again and again, and once more at the end: half a second."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


@_plain_warnings()
def _upscale(args: argparse.Namespace) -> None:
    with _imports_of_torch():
        from srsenet_plugin.inference.batch import NoPlaceError, upscale_files
        from srsenet_plugin.inference.photo import TooManyPixelsError
        from srsenet_plugin.inference.photo_upscaler import PhotoUpscaler
        from srsenet_plugin.inference.sizes import ResultSize

    advice = {
        TooManyPixelsError: '; --max-pixels allows more',
        NoPlaceError: '; name another folder with -o',
        MemoryError: '; --precision bf16 needs less memory, and --tile 512 less still',
    }

    def reason(image: Path, error: Exception) -> str:
        if isinstance(error, OSError):
            place = '' if error.filename in (None, str(image)) else f'{error.filename}: '
            return f'({place}{error.strerror or error})'
        return f'{error}{advice.get(type(error), "")}'

    has_side = args.width is not None or args.height is not None
    size = ResultSize(None if has_side else args.scale, args.width, args.height)
    upscaler = PhotoUpscaler(
        size,
        args.weights,
        device=args.device,
        precision=args.precision,
        self_ensemble=args.self_ensemble,
        tile=args.tile,
    )
    try:
        files = upscale_files(
            args.inputs, args.out, str(size), upscaler, args.overwrite, args.max_pixels, args.format == 'same'
        )
    except NoPlaceError as error:
        raise ValueError(f'{error} Name a folder with -o.') from None
    for path in files.written:
        print(path)
    if upscaler.jpeg_weights:
        names = ', '.join(upscaler.jpeg_weights)
        others = upscaler.jpeg_weights[0].removesuffix('_jpeg')
        print(
            f'JPEG and WebP files were upscaled with {names}. --weights {others} takes those for clean images.',
            file=sys.stderr,
        )
    for path in files.left_alone:
        print(f'{path} is there already: left alone. --overwrite replaces it.', file=sys.stderr)
    for path, original in files.left_out.items():
        print(f'{path} is taken for a result of {original}: left out. Name it alone to upscale it.', file=sys.stderr)
    if files.failed:
        problems = '\n'.join(f'  {path} {reason(path, error)}' for path, error in files.failed.items())
        raise ValueError(f'{len(files.failed)} of the images could not be upscaled:\n{problems}')


def _export(args: argparse.Namespace) -> None:
    from srsenet_plugin.weights import export, pretrained
    from srsenet_plugin.weights.ranges import stored_ranges

    file = pretrained.find_file(args.weights) if args.weights else pretrained.weights_file(f'srsenet_x{args.scale}')
    net = pretrained.load_network(file)
    out = args.out or Path(f'srsenet_x{net.upscale}{export.FORMATS[args.format].suffix}')
    export.export(net, args.format, out, args.color == 'rgb', args.precision, stored_ranges(file))
    print(out)


def _compare(args: argparse.Namespace) -> None:
    from srsenet_plugin import register

    if not args.archs and not args.models and not args.results and not args.paper:
        raise ValueError('there is nothing to compare: name --archs, --models or --results, or --paper.')
    if len(dict(args.models)) < len(args.models):
        raise ValueError(f'two files of --models have one name: {", ".join(name for name, _ in args.models)}.')
    if args.projects:
        # Last, so that no file of the working folder stands in for an installed package.
        sys.path.append(str(Path.cwd()))
    register()
    if args.models:
        _show_srsenet_to_spandrel()
    from srsenet_plugin.compare import run

    rows = run.compare(
        run.Comparison(
            archs=args.archs,
            scales=args.scale,
            benchmarks=args.benchmarks,
            weights=dict(args.weights),
            models=dict(args.models),
            results=dict(args.results),
            out=args.out,
            timing=not args.no_timing,
            paper=args.paper,
            device=args.device,
            protocol=args.protocol or ('authors' if args.paper else 'uint8'),
            projects=args.projects,
            square=args.square,
            html=args.html,
        )
    )
    print(f'Tables, pictures and images are in {args.out}.')
    for scale in rows:
        methods: dict[str, list[str]] = {}
        for row in rows[scale]:
            for note in row.notes:
                methods.setdefault(note, []).append(row.method)
        for note, names in methods.items():
            advice = f'; srsenet fetch {" ".join(names)} brings them' if note == run.NOT_FETCHED else ''
            print(f'x{scale} {", ".join(names)}: {note}{advice}')
    problems = [f'x{scale} {row.method}: {text}' for scale in rows for row in rows[scale] for text in row.problems]
    if problems:
        raise ValueError('some figures are missing:\n  ' + '\n  '.join(problems))


def _board(args: argparse.Namespace) -> None:
    from srsenet_plugin.compare import board

    for note in board.merge_pages(args.pages, args.out):
        print(note)
    print(args.out)


def _explain(args: argparse.Namespace) -> None:
    from srsenet_plugin import register

    if args.projects:
        sys.path.append(str(Path.cwd()))
    register()
    from srsenet_plugin.compare import explain, table

    folder = Path(args.subject)
    if args.benchmark is None:
        if not folder.is_dir():
            raise ValueError(
                f'{folder} is no folder of HR images; name the benchmark of other subjects: --benchmark FOLDER'
            )
        if args.claimed:
            raise ValueError('a claimed figure is of a benchmark: --benchmark FOLDER')
        print(explain.tell_hr_images(explain.check_hr_images(folder)))
        return
    print(explain.tell_hr_images(explain.check_hr_images(args.benchmark)))
    if folder.is_dir():
        scale = explain.scale_of(folder, args.benchmark)
        if scale > 1:
            if args.claimed:
                raise ValueError(f'{folder} holds LR images of x{scale}, which have no figures.')
            found = explain.find_resizer(folder, args.benchmark, scale)
            table.print_table(explain.likenesses_as_table(found), f'LR images of x{scale}')
            print(explain.tell_resizer(found))
            return
        if args.scale is None:
            raise ValueError('the sizes of upscaled images do not tell their scale: name it with -s')
        figures = explain.figures_of_images(folder, args.benchmark, args.scale)
        title = f'x{args.scale}, upscaled images as they are'
    else:
        net, channels, scale = _network_of(args)
        figures = explain.figures_of_network(net, channels, args.benchmark, scale)
        title = f'x{scale}, upscaled by a network for {"RGB" if channels == 3 else "Y"}'
    table.print_table(explain.figures_as_table(figures), title)
    if args.claimed:
        print(explain.tell_claim(figures, args.claimed))


def _network_of(args: argparse.Namespace) -> tuple[nn.Module, int, int]:
    """The network of ``srsenet explain``, its channels and its scale."""
    from srsenet_plugin.compare.model_files import SUFFIXES, read_model
    from srsenet_plugin.compare.networks import find_network, import_projects, name_of
    from srsenet_plugin.compare.run import find_weights
    from srsenet_plugin.machine.devices import find_device

    device = find_device(args.device, ('cuda', 'cpu'))
    import_projects(args.projects)
    if Path(args.subject).suffix.lower() in SUFFIXES:
        _show_srsenet_to_spandrel()
        model = read_model(Path(args.subject), Path(args.subject).stem)
        if args.scale not in (None, model.scale):
            raise ValueError(f'{args.subject} is for x{model.scale}, not x{args.scale}.')
        return model.net.to(device), model.channels, model.scale
    if len(Path(args.subject).parts) > 1 and not Path(args.subject).exists():
        raise ValueError(f'{args.subject} does not exist.')
    if args.scale is None:
        raise ValueError(f'{args.subject} has no scale of its own: name it with -s')
    given = {name_of(args.subject): args.weights} if args.weights else {}
    network = find_network(args.subject, args.scale, find_weights(given, args.subject, args.scale)[0])
    net = network.build()
    if network.no_weights:
        raise ValueError(f'{network.no_weights}.')
    if network.weights is None and next(net.parameters(), None) is not None:
        raise ValueError(f'{args.subject} has no weights at x{args.scale}: name a file with --weights')
    return net.to(device), network.channels, args.scale


def _show_srsenet_to_spandrel() -> None:
    with suppress(ImportError):  # whoever needs it says so
        import srsenet_plugin.spandrel_arch  # noqa: F401


def _fetch(args: argparse.Namespace) -> None:
    from srsenet_plugin.weights import authors_files

    for file in authors_files.fetch(args.archs):
        print(f'{file.converted}: {file.arch} {" ".join(f"x{scale}" for scale in file.scales)}, {file.remote.url}')


def _convert(args: argparse.Namespace) -> None:
    from srsenet_plugin.weights import convert

    network_g = convert.convert_file(args.source, args.out)
    print(f'{args.out}: {", ".join(f"{name}: {value}" for name, value in network_g.items())}')


def _prepare_div2k(args: argparse.Namespace) -> None:
    from srsenet_plugin.data import download
    from srsenet_plugin.prepare import div2k, packing

    args.name = 'DIV2K_train'
    if args.source is None:
        archive = args.out / 'DIV2K_train_HR.zip'
        if not all(folder.exists() for folder in packing.lmdb_folders(args.out, args.name, args.scales)):
            if args.download:
                download.fetch({archive: div2k.TRAIN_HR})
            elif not archive.exists():
                raise ValueError(
                    f'There is no {archive}. --download fetches it; by hand, put {div2k.TRAIN_HR.url} there; '
                    'or name the folder or archive with --source.'
                )
        if archive.exists():  # which may be deleted once the LMDBs are there
            args.source = archive
    _prepare_folder(args)


def _prepare_folder(args: argparse.Namespace) -> None:
    from srsenet_plugin.prepare import packing

    recipe = packing.Packing(args.scales, args.downsizes, args.color, args.encoding, args.gt_size)
    _report(packing.pack_images(args.source, args.out, args.name, recipe, args.workers, args.skip_bad))


def _prepare_benchmark(args: argparse.Namespace) -> None:
    from srsenet_plugin.prepare import benchmark_folders, benchmarks

    for found in benchmarks.find_hr_images(args.source, args.out):
        _report(
            benchmark_folders.make_benchmark(
                found.images, found.out, args.scales, args.workers, args.skip_bad, found.stem_end, found.benchmark
            )
        )


def _report(prepared: Prepared) -> None:
    if prepared.left_out:
        print(f'Left out {len(prepared.left_out)} images:', file=sys.stderr)
        for name, reason in prepared.left_out.items():
            print(f'  {name} {reason}', file=sys.stderr)
    if prepared.variants:
        print('These images are variants of those of the benchmark, and figures may differ:', file=sys.stderr)
        for name, reason in prepared.variants.items():
            print(f'  {name} {reason}', file=sys.stderr)
    for path in prepared.made:
        print(path)
    for path in prepared.left_alone:
        print(f'{path} is there already: left alone.', file=sys.stderr)


def _verify(args: argparse.Namespace) -> None:
    from srsenet_plugin.prepare import lmdb_check

    for folder in args.lmdbs:
        print(f'{folder}: {lmdb_check.check_lmdb(folder, args.workers)} images, as they should be')
