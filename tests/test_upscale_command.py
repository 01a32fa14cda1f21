"""``srsenet upscale``: files, folders and patterns, and what becomes of bad ones among them."""

from __future__ import annotations

import errno
import gc
import io
import os
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
from conftest import run, save_network, write_photo
from numpy.typing import NDArray
from PIL import Image

from srsenet_plugin import cli
from srsenet_plugin.data import imresize
from srsenet_plugin.data.whole_files import MARK
from srsenet_plugin.inference import image_files
from srsenet_plugin.inference.batch import find_targets
from srsenet_plugin.inference.upscaler import Upscaler


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with weights and with photographs, some in folders of folders."""
    save_network(tmp_path / 'x4.pth')
    write_photo('chelsea.png', tmp_path / 'photos/cat.png', (60, 100, 20, 30))
    write_photo('coffee.png', tmp_path / 'photos/drinks/Café au lait.png', (100, 200, 17, 11))
    Image.open(tmp_path / 'photos/cat.png').save(tmp_path / 'photos/drinks/cat.jpg')
    (tmp_path / 'photos/notes.txt').write_text('no image')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def upscale(*arguments: str) -> int:
    return cli.main(['upscale', '--weights', 'x4.pth', *arguments])


def pixels(path: str) -> NDArray:
    return np.asarray(Image.open(path))


def test_a_file_beside_the_image(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale('photos/cat.png') == 0
    assert capsys.readouterr().out == 'photos/cat_x4.png\n'
    assert gc.isenabled()  # again: it rests while torch is imported
    assert np.array_equal(pixels('photos/cat_x4.png'), Upscaler(4, 'x4.pth')(pixels('photos/cat.png')))


@pytest.mark.parametrize('suffix', ['.png', '.jpg', '.webp', '.tiff', '.bmp'])
def test_a_file_of_a_name(folder: Path, suffix: str) -> None:
    assert upscale('photos/cat.png', '-o', f'new/big{suffix}') == 0
    with Image.open(f'new/big{suffix}') as img:
        assert (img.format, img.size) == (image_files.FORMAT_OF_SUFFIX[suffix], (120, 80))


def test_folders_keep_their_names(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale('photos', '-o', 'photos/big') == 0
    made = {str(path.relative_to('photos/big')) for path in Path('photos/big').rglob('*') if path.is_file()}
    assert made == {'cat.png', 'drinks/Café au lait.png', 'drinks/cat.png'}
    capsys.readouterr()
    # Again: what has been made is neither taken for input nor made anew.
    assert upscale('photos', '-o', 'photos/big') == 0
    captured = capsys.readouterr()
    assert captured.out == ''
    assert captured.err.count('is there already: left alone. --overwrite replaces it.') == 3


def test_same_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale('photos', '-o', 'big', '--format', 'same') == 0
    made = {str(path.relative_to('big')) for path in Path('big').rglob('*') if path.is_file()}
    assert made == {'cat.png', 'drinks/Café au lait.png', 'drinks/cat.jpg'}
    with Image.open('big/drinks/cat.jpg') as img:
        assert (img.format, img.size) == ('JPEG', (120, 80))
    for _ in range(2):
        assert upscale('photos/drinks/*.jpg', '--format', 'same') == 0
    assert [path.name for path in Path('photos/drinks').glob('*.jpg')].count('cat_x4.jpg') == 1
    assert len(list(Path('photos/drinks').glob('*.jpg'))) == 2


def test_patterns(folder: Path) -> None:
    assert upscale('photos/**/*.jpg', 'photos/cat.png', '-o', 'big', '--overwrite') == 1  # both are cat.png
    assert upscale('photos/**/*.png', '-o', 'other') == 0
    assert sorted(os.listdir('other')) == ['Café au lait.png', 'cat.png']


def test_many_images_hold_nothing(folder: Path) -> None:
    """scripts/soak.py watches the command with a thousand."""
    for i in range(60):
        Image.open('photos/cat.png').save(f'photos/{i}.png')

    def used(pattern: str) -> tuple[int, int, int]:
        assert upscale(pattern, '-o', 'upscaled', '--overwrite') == 0
        gc.collect()
        process = psutil.Process()
        memory = process.memory_info()  # without files, whose pages are its own or not by what else runs
        return process.num_fds(), process.num_threads(), memory.rss - memory.shared

    files, threads, memory = used('photos/?.png')
    files_later, threads_later, memory_later = used('photos/*.png')
    assert (files, threads) == (files_later, threads_later)
    assert memory_later - memory < 4e6


@pytest.mark.parametrize(
    ('arguments', 'name', 'size'),
    [
        (['-s', '2.5'], 'cat_x2.5.png', (75, 50)),
        (['-s', '1.37'], 'cat_x1.37.png', (41, 27)),
        (['-s', '4.0'], 'cat_x4.png', (120, 80)),
        (['--width', '100'], 'cat_w100.png', (100, 67)),
        (['--height', '41'], 'cat_h41.png', (62, 41)),
        (['--width', '20'], 'cat_w20.png', (20, 13)),
    ],
    ids=str,
)
def test_any_size(folder: Path, arguments: list[str], name: str, size: tuple[int, int]) -> None:
    assert upscale('photos/cat.png', *arguments) == 0
    with Image.open(f'photos/{name}') as img:
        assert img.size == size
    assert upscale('photos/*.png', *arguments) == 0
    assert len(list(Path('photos').glob('*.png'))) == 2


def test_sizes_beyond_the_largest_scale(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale('photos', '--width', '100', '-o', 'big') == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ['big/cat.png', 'big/drinks/cat.png']
    assert 'Café au lait.png would have to be enlarged 9.11765 times; 4 times is the most' in captured.err


def test_the_packages_weights_for_any_scale(folder: Path) -> None:
    assert cli.main(['upscale', 'photos/cat.png', '-s', '3.5']) == 0
    expected = imresize(Upscaler(4)(pixels('photos/cat.png')), output_size=(70, 105))
    assert np.array_equal(pixels('photos/cat_x3.5.png'), expected)
    assert cli.main(['upscale', 'photos/cat.png', '-s', '3']) == 0
    assert np.array_equal(pixels('photos/cat_x3.png'), Upscaler(3)(pixels('photos/cat.png')))
    assert cli.main(['upscale', 'photos/cat.png', '-s', '9']) == 1


def test_overwrite(folder: Path) -> None:
    assert upscale('photos/cat.png', '-o', 'big.png') == 0
    Path('big.png').write_bytes(b'')
    assert upscale('photos/cat.png', '-o', 'big.png') == 0
    assert Path('big.png').read_bytes() == b''
    assert upscale('photos/cat.png', '-o', 'big.png', '--overwrite') == 0
    assert pixels('big.png').shape == (80, 120, 3)


def test_images_are_not_written_over(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path('photos/cat.png').read_bytes()
    assert upscale('photos/cat.png', '-o', 'photos', '--overwrite') == 1
    assert 'photos/cat.png would be written over' in capsys.readouterr().err
    assert Path('photos/cat.png').read_bytes() == before


def test_bad_images_do_not_stop_the_others(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path('photos/a.png').write_bytes(b'no image')
    Path('photos/b.png').write_bytes(Path('photos/cat.png').read_bytes()[:500])
    Path('photos/empty.jpg').touch()
    assert upscale('photos', 'photos/missing.png', '-o', 'big') == 1
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 3
    expected = [
        'srsenet: 4 of the images could not be upscaled:',
        '  photos/a.png is no PNG, JPEG, WebP, TIFF, BMP, AVIF or HEIC image, or its header is damaged',
        '  photos/b.png is truncated or damaged (',
        '  photos/empty.jpg is empty',
        '  photos/missing.png (No such file or directory)',
    ]
    lines = captured.err.splitlines()[-5:]
    assert [line[: len(start)] for line, start in zip(lines, expected)] == expected
    assert not list(Path().rglob(f'*{MARK}*'))


def test_max_pixels(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert upscale('photos/cat.png', '--max-pixels', '599') == 1
    assert 'has 30x20 pixels, more than 599 in all; --max-pixels allows more' in capsys.readouterr().err
    assert upscale('photos/cat.png', '--max-pixels', '299') == 1  # at half of it, Pillow refuses as well
    assert 'more than 299 pixels; --max-pixels allows more' in capsys.readouterr().err
    assert upscale('photos/cat.png', '--max-pixels', '600') == 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['photos', '-o', 'big.png'], 'big.png is one file'),
        (['photos'], 'the results of a folder of images need a folder of their own. Name a folder with -o.'),
        (['photos/*.gif', '-o', 'big'], 'photos/*.gif: there are no such files'),
        (['photos/cat.png', '-s', '5'], 'x4.pth cannot enlarge more than x4'),
        (['photos/cat.png', '--weights', 'photos/cat.png'], 'cat.png is damaged, or no file of weights'),
        (['photos/cat.png', '--weights', 'none.pth'], 'none.pth'),
        (['photos/cat.png', '--device', 'cuda:99'], 'The device cuda:99 cannot be used'),
        (['photos/cat.png', '-o', 'x4.pth/big.png'], 'x4.pth'),
        (['photos/cat.png', '-o', 'big.gif'], 'big.gif has a suffix that is none of .png, .jpg'),
        (['photos', '-o', 'big.pngg'], 'big.pngg has a suffix that is none of .png, .jpg'),
    ],
)
def test_mistakes_end_with_a_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert upscale(*arguments) == 1
    assert message in capsys.readouterr().err


def test_folders_without_images(folder: Path) -> None:
    Path('empty').mkdir()
    with pytest.raises(ValueError, match=r'empty holds no images \(\.png'):
        find_targets(['empty'], Path('big'), 'x4')


def test_full_disk(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def save(img: Image.Image, path: Path, *arguments: object, **options: object) -> None:
        path.write_bytes(b'half')
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(Image.Image, 'save', save)
        assert upscale('photos', '-o', 'big') == 1
    assert capsys.readouterr().err.count('No space left on device') == 3
    assert not [path for path in Path('big').rglob('*') if path.is_file()]


def test_too_little_memory(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail(upscaler: Upscaler, image: NDArray) -> NDArray:
        raise MemoryError('not enough memory for 30x20 pixels')

    monkeypatch.setattr(Upscaler, '__call__', fail)
    assert upscale('photos/cat.png') == 1
    assert (
        'photos/cat.png not enough memory for 30x20 pixels; --precision bf16 needs less memory, and --tile 512 less '
        'still\n' in capsys.readouterr().err
    )


def test_folders_with_a_dot_in_their_name(folder: Path) -> None:
    Path('photos.2024').mkdir()
    assert upscale('photos/cat.png', '-o', 'photos.2024') == 0
    assert os.listdir('photos.2024') == ['cat.png']


def test_a_name_that_is_too_long_fails_alone(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = 'a' * 251 + '.png'  # with _x4 it has more than the 255 bytes that file systems take
    Path('photos/cat.png').rename(f'photos/{name}')
    write_photo('chelsea.png', folder / 'photos/z.png', (60, 100, 20, 30))
    assert upscale('photos/*.png', 'b' * 300 + '.png') == 1
    captured = capsys.readouterr()
    assert captured.out == 'photos/z_x4.png\n'
    assert captured.err.count('File name too long') == 2
    assert name in captured.err
    assert upscale(f'photos/{name}', '-o', 'big') == 0  # where it is not longer than it was
    assert os.listdir('big') == [name]


def test_hidden_files_are_left_out(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Such as those that macOS keeps a file's attributes in, on drives that have no place for them."""
    Path('photos/._cat.png').write_bytes(b'\0\5\26\7')
    Path('photos/.thumbnails').mkdir()
    Path('photos/.thumbnails/cat.png').write_bytes(Path('photos/cat.png').read_bytes())
    assert upscale('photos', 'photos/*.png', '-o', 'big') == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert upscale('photos/._cat.png') == 1
    assert 'photos/._cat.png is no PNG' in capsys.readouterr().err


def test_results_are_not_upscaled_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pattern = 'photos/**/*.[pj][np]*g'
    cat = Path('photos/drinks/cat.jpg').rename('photos/drinks/dog.jpg')
    assert upscale(pattern) == 0
    results = {'photos/cat_x4.png', 'photos/drinks/Café au lait_x4.png', 'photos/drinks/dog_x4.png'}
    assert set(capsys.readouterr().out.splitlines()) == results
    Path('photos/cat_x2.png').write_bytes(Path('photos/cat_x4.png').read_bytes())  # of another scale
    for arguments in ([pattern], [pattern, '--overwrite'], [*map(str, Path('photos').rglob('*.*g')), '--overwrite']):
        assert upscale(*arguments) == 0
        captured = capsys.readouterr()
        assert set(captured.out.splitlines()) == (results if '--overwrite' in arguments else set())
        note = 'photos/cat_x2.png is taken for a result of photos/cat.png: left out. Name it alone to upscale it.'
        assert note in captured.err
        assert captured.err.count(' is taken for a result of ') == 4
    assert not list(Path('photos').rglob('*_x*_x*'))
    assert upscale('photos/cat_x2.png') == 0
    assert Path('photos/cat_x2_x4.png').exists()
    assert cat.exists()


def test_results_below_a_pattern_are_not_upscaled_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in ([], ['--overwrite']):
        assert upscale('photos/**/*.png', '-o', 'photos/big', *arguments) == 0
        assert capsys.readouterr().out.splitlines() == ['photos/big/cat.png', 'photos/big/Café au lait.png']
    assert sorted(os.listdir('photos/big')) == ['Café au lait.png', 'cat.png']


def test_an_image_is_not_overwritten_by_the_result_of_another(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = Path('photos/cat.png').read_bytes()
    Path('photos/drinks/cat.jpg').rename('photos/cat.jpg')
    assert upscale('photos/cat.jpg', 'photos/cat.png', '-o', 'photos', '--overwrite') == 1
    captured = capsys.readouterr()
    assert (
        'photos/cat.jpg would be written over photos/cat.png, which is one of the images; name another' in captured.err
    )
    assert Path('photos/cat.png').read_bytes() == before


@pytest.mark.skipif(sys.platform != 'linux', reason='other systems have no such names')
@pytest.mark.slow
def test_names_that_are_no_text(folder: Path) -> None:
    name = os.fsdecode(b'photos/caf\xe9.png')
    Path('photos/cat.png').rename(name)
    Path(os.fsdecode(b'photos/\xff.png')).write_bytes(b'no image')
    out = run(['srsenet', 'upscale', 'photos/*.png', '--weights', 'x4.pth'], folder, status=1, PYTHONUTF8='1')
    assert 'photos/caf\\udce9_x4.png\n' in out
    assert 'photos/\\udcff.png is no PNG, JPEG' in out
    assert Path(os.fsdecode(b'photos/caf\xe9_x4.png')).exists()


def test_names_that_stdout_cannot_encode(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path('photos/cat.png').rename('photos/Łódź.png')
    output = io.TextIOWrapper(io.BytesIO(), encoding='ascii')
    monkeypatch.setattr(sys, 'stdout', output)
    assert upscale('photos/*.png') == 0
    output.flush()
    assert output.buffer.getvalue() == b'photos/\\u0141\\xf3d\\u017a_x4.png\n'


@pytest.mark.skipif(sys.platform != 'linux' or os.geteuid() != 0, reason='needs to mount a small file system')
@pytest.mark.slow
def test_full_file_system(folder: Path) -> None:
    Path('small').mkdir()
    try:
        run(['mount', '-t', 'tmpfs', '-o', 'size=32k', 'tmpfs', 'small'])
    except AssertionError as error:
        pytest.skip(f'cannot mount: {error}')
    try:
        noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
        Image.fromarray(noise).save('noise.png')
        out = run(['srsenet', 'upscale', 'noise.png', '--weights', 'x4.pth', '-o', 'small/noise.png'], status=1)
        assert 'No space left on device' in out
        assert 'Traceback' not in out
        assert os.listdir('small') == []
    finally:
        run(['umount', 'small'])
