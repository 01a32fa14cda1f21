"""Trains and upscales for long, watches the memory, files and threads of all processes, and prints and draws them.

python scripts/soak.py                                  3000 iterations in each of five ways, and 1000 images
python scripts/soak.py --iterations 100 --images 50
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import psutil
from PIL import Image
from rich.console import Console
from rich.table import Table
from tqdm import tqdm

from srsenet_plugin.data.whole_files import whole_file

ROOT = Path(__file__).parents[1]
OPTIONS = 'options/quickstart/train_SrSENet_x4_quickstart.yml'
SMALL = [
    *('--force_yml', 'network_g:num_feat=16', 'network_g:num_block=2', 'datasets:train:batch_size_per_gpu=4'),
    *('datasets:train:persistent_workers=false', 'logger:print_freq=10'),
    *('logger:keep_checkpoints=2', 'logger:save_checkpoint_freq=200', 'val:val_freq=200'),
]


@dataclass(frozen=True)
class Sample:
    """What the processes of a command use at a moment.

    Attributes:
        seconds: Since its start.
        memory: What is neither shared nor mapped from files, MB. How much of the files counts as the
            command's own depends on what else runs.
        files: Open file descriptors.
        threads: Threads.
    """

    seconds: float
    memory: float
    files: int
    threads: int


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--iterations', type=int, default=3000)
    parser.add_argument('--images', type=int, default=1000)
    parser.add_argument('--out', type=Path, default=ROOT / 'docs/soak.png')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder), args.images)
        found = {
            name: watch(command, Path(folder))
            for name, command in tqdm(commands(args.iterations).items(), 'Commands', unit='command')
        }
    draw(found, args.out)
    table = Table('command', 'minutes', 'memory (MB)', 'growth', 'files', 'growth', 'threads', 'growth')
    for name, samples in found.items():
        cells = [f'{samples[-1].seconds / 60:.1f}']
        for key, digits in (('memory', 1), ('files', 0), ('threads', 0)):
            early, late = halves(samples, key)
            cells += [f'{late:.{digits}f}', f'{late - early:+.{digits}f}']
        table.add_row(name, *cells)
    Console(width=120).print(table)


def prepare(folder: Path, images: int) -> None:
    """A working folder with the quickstart's data, and photographs to upscale."""
    spec = find_spec('basicsr')
    assert spec is not None
    assert spec.submodule_search_locations is not None
    (folder / 'basicsr').symlink_to(Path(spec.submodule_search_locations[0]).resolve())
    (folder / 'options').symlink_to(ROOT / 'options')
    data = ['--out', 'datasets/quickstart', '--scales', '4']
    for command in (
        [sys.executable, str(ROOT / 'scripts/quickstart_photos.py'), 'photos'],
        ['srsenet', 'prepare', 'folder', '--source', 'photos/train', '--name', 'quickstart', *data],
        ['srsenet', 'prepare', 'benchmark', '--source', 'photos/val', *data],
    ):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (folder / 'many').mkdir()
    rng = np.random.default_rng(0)
    photo = np.asarray(Image.open(folder / 'photos/val/coffee.png'))
    for i in range(images):
        height, width = rng.integers(40, 120, 2)
        top, left = rng.integers(photo.shape[0] - height), rng.integers(photo.shape[1] - width)
        suffix = ('png', 'jpg', 'webp', 'tiff', 'bmp')[i % 5]
        Image.fromarray(photo[top : top + height, left : left + width]).save(folder / f'many/{i:04}.{suffix}')


def commands(iterations: int) -> dict[str, list[str]]:
    def train(workers: int, start: Sequence[str], *launcher: str) -> list[str]:
        name = f'workers{workers}' + ''.join(launcher).replace('-', '')
        length = [f'train:total_iter={iterations}', f'train:scheduler:periods=[{iterations}]']
        # Workers start anew in each epoch. Those of several ranks are spawned, which takes seconds.
        epochs = f'datasets:train:dataset_enlarge_ratio={160 if launcher else 40}'
        options = [f'datasets:train:num_worker_per_gpu={workers}', epochs, *length, f'name={name}']
        return [*start, 'basicsr/train.py', '-opt', OPTIONS, *launcher, *SMALL, *options]

    alone = [sys.executable]
    two_ranks = ['torchrun', '--standalone', '--nproc_per_node=2']
    return {
        'train, no worker': train(0, alone),
        'train, 1 worker': train(1, alone),
        'train, 2 workers': train(2, alone),
        'train, 4 workers': train(4, alone),
        'train, two ranks, 1 worker each, spawned': train(1, two_ranks, '--launcher', 'pytorch'),
        'srsenet upscale': ['srsenet', 'upscale', 'many', '-s', '2', '-o', 'upscaled'],
    }


def watch(command: Sequence[str], folder: Path) -> list[Sample]:
    """Runs a command and samples its resources and its children's, twice a second."""
    samples = []
    start = time.monotonic()
    with (folder / 'log.txt').open('wb') as log:
        process = psutil.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        while process.poll() is None:
            samples.append(sample(process, start))
            time.sleep(0.5)
    if process.returncode:
        sys.exit(f'{" ".join(command)} ended with {process.returncode}:\n{(folder / "log.txt").read_text()[-4000:]}')
    return samples


def sample(process: psutil.Process, start: float) -> Sample:
    memory = files = threads = 0
    for member in (process, *process.children(recursive=True)):
        try:
            with member.oneshot():
                used = member.memory_info()
                memory += used.rss - used.shared
                files += member.num_fds()
                threads += member.num_threads()
        except psutil.Error:  # it has ended meanwhile
            continue
    return Sample(time.monotonic() - start, memory / 1e6, files, threads)


def halves(samples: Sequence[Sample], key: str) -> tuple[float, float]:
    """Medians of a quantity in the second and in the last quarter."""
    values = [getattr(sample, key) for sample in samples]
    quarter = max(len(values) // 4, 1)
    return statistics.median(values[quarter : 2 * quarter]), statistics.median(values[-quarter:])


def draw(found: dict[str, list[Sample]], out: Path) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.5), layout='constrained')
    for axis, key, label in zip(axes, ('memory', 'files', 'threads'), ('memory (MB)', 'open files', 'threads')):
        for name, samples in found.items():
            axis.plot([s.seconds / 60 for s in samples], [getattr(s, key) for s in samples], label=name, linewidth=1)
        axis.set(xlabel='minutes', ylabel=label, ylim=(0, None))
    figure.legend(*axes[0].get_legend_handles_labels(), loc='outside lower center', ncols=3, fontsize=8)
    out.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(out) as part:
        figure.savefig(part, dpi=120)


if __name__ == '__main__':
    main()
