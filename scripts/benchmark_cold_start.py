"""Prints how long one photograph takes from the start of a process to the written file: 480x270 to 1920x1080, by
`srsenet upscale` in each precision and by the lines of docs/other_tools.md for ONNX Runtime and OpenVINO.

The ways take turns; the time is the median. A first turn, which reads the files from disk, does not count. Another
program is timed with them by a command of yours, in which {photo} and {folder} stand for the photograph and for a
folder to write to:
  python scripts/benchmark_cold_start.py --other "Real-ESRGAN=python inference_realesrgan.py -i {photo} -o {folder}"
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import skimage
from PIL import Image
from rich.console import Console
from rich.table import Table

from srsenet_plugin.machine.timing import interleaved_medians

WIDTH, HEIGHT = 480, 270
PRECISIONS = ('auto', 'int8', 'bf16', 'fp32')
DOCUMENT = Path(__file__).parents[1] / 'docs/other_tools.md'
TOOLS = {'ONNX Runtime': 'import cv2, onnxruntime', 'OpenVINO': 'import cv2, openvino'}
TORCH = 'import torch alone'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument('--other', metavar='NAME=COMMAND', action='append', default=[])
    args = parser.parse_args()
    console = Console()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        photo = folder / 'photo.png'
        coffee = Image.open(Path(skimage.__file__).parent / 'data/coffee.png').convert('RGB')
        coffee.resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(photo)
        run = partial(subprocess.run, check=True, cwd=folder, capture_output=True)
        run([*srsenet('export'), '-s', '4', '--format', 'onnx', '--color', 'rgb'])
        commands = {TORCH: [sys.executable, '-c', 'import torch']}
        for precision in PRECISIONS:
            command = [*srsenet('upscale'), str(photo), '--precision', precision, '--overwrite']
            commands[f'srsenet upscale, {precision}'] = command
        for tool, first_line in TOOLS.items():
            commands[f"{tool}, fp32: the document's lines"] = [sys.executable, '-c', lines_of(first_line)]
        for other in args.other:
            tool, _, command = other.partition('=')
            commands[tool] = shlex.split(command.format(photo=photo, folder=folder))
        ways = {}
        for way, command in commands.items():
            try:
                run(command)
            except (OSError, subprocess.CalledProcessError) as error:
                words = (getattr(error, 'stderr', None) or str(error).encode()).decode(errors='replace')
                console.print(f'left out: {way} ({words.strip().splitlines()[-1]})')
            else:
                ways[way] = partial(run, command)
        seconds = interleaved_medians(ways, args.rounds, 'cold start')
    table = Table('', 'seconds', 'beside import torch', title=f'{WIDTH}x{HEIGHT} to {4 * WIDTH}x{4 * HEIGHT}')
    for way, own in seconds.items():
        table.add_row(way, f'{own:.2f}', f'{own - seconds[TORCH]:+.2f}')
    console.print(table)


def srsenet(command: str) -> list[str]:
    return [str(Path(sys.executable).with_name('srsenet')), command]


def lines_of(first_line: str) -> str:
    """The block of code in the document that begins with a line."""
    blocks = DOCUMENT.read_text(encoding='utf-8').split('```python\n')[1:]
    return next(block.partition('```')[0] for block in blocks if block.startswith(first_line))


if __name__ == '__main__':
    main()
