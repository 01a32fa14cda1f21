"""The page that ``srsenet compare --html`` writes: its content, merging pages, and the page in a browser."""

from __future__ import annotations

import base64
import copy
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import browser
import cv2
import numpy as np
import pytest
import torch
from conftest import ROOT, write_photo
from numpy.typing import NDArray

from srsenet_plugin import FSRCNN, cli
from srsenet_plugin.compare import board, cost, digests
from srsenet_plugin.prepare.benchmark_folders import make_benchmark

HOSTILE = '</script><script>throw 1</script>'


@pytest.fixture(scope='module')
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison with a page: two networks, one without weights, and finished images of a hostile name."""
    folder = tmp_path_factory.mktemp('board')
    write_photo('chelsea.png', folder / 'source/chelsea.png', (60, 100, 56, 64))
    write_photo('coffee.png', folder / 'source/coffee.png', (100, 200, 67, 49))
    make_benchmark(folder / 'source', folder / 'data/Set5', [4])
    shutil.copytree(folder / 'data/Set5/GTmod4', folder / 'theirs')
    for path in (folder / 'theirs').glob('*.png'):
        cv2.imwrite(str(path), cv2.GaussianBlur(cv2.imread(str(path)), (5, 5), 1))
    torch.manual_seed(0)
    torch.save(FSRCNN(upscale=4).state_dict(), folder / 'fsrcnn.pth')
    compare(folder, '--html', '--results', f'{HOSTILE}={folder}/theirs')
    return folder


def compare(folder: Path, *arguments: object, out: str = 'out', archs: tuple[str, ...] = ('FSRCNN', 'SRCNN')) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cost, 'OUTPUT_HEIGHT', 64)
        patch.setattr(cost, 'OUTPUT_WIDTH', 96)
        command = ['compare', '--scale', 4, '--benchmarks', folder / 'data', '--no-timing', '--out', folder / out]
        weights = [f'FSRCNN={folder}/fsrcnn.pth'] if 'FSRCNN' in archs else []
        command += ['--archs', 'Bicubic', *archs, *(['--weights', *weights] if weights else [])]
        assert cli.main([str(word) for word in [*command, *arguments]]) == 0


def decode(image: str) -> NDArray[np.uint8]:
    return cv2.imdecode(np.frombuffer(base64.b64decode(image), np.uint8), cv2.IMREAD_COLOR)


# Content


def test_pages_hold_figures_and_images_without_loss(folder: Path) -> None:
    (table,) = board.read(folder / 'out/compare.html')
    found = json.loads((folder / 'out/compare.json').read_text())['4']
    assert [row['label'] for row in table.rows] == list(found) == ['Bicubic', 'FSRCNN', 'SRCNN', HOSTILE]
    for row in table.rows:
        own = found[row['label']]
        assert {name: own[name] for name in ('scores', 'complexity', 'digests')} == {
            name: row[name] for name in ('scores', 'complexity', 'digests')
        }
    assert [shot.image for shot in table.shots] == ['chelsea', 'coffee']
    for shot in table.shots:
        pictures = {label: decode(webp) for label, webp in shot.load().items()}
        assert set(pictures) == {board.HR, 'Bicubic', 'FSRCNN', HOSTILE}
        for label, path in {
            board.HR: folder / f'data/Set5/GTmod4/{shot.image}.png',
            'FSRCNN': folder / f'out/x4/FSRCNN/Set5/{shot.image}.png',
            HOSTILE: folder / f'theirs/{shot.image}.png',
        }.items():
            assert np.array_equal(pictures[label], cv2.imread(str(path)))


def test_differences_of_all_pairs_are_in_the_json(folder: Path) -> None:
    found = json.loads((folder / 'out/compare.json').read_text())['4']
    difference = found['Bicubic']['differences']['Set5']['FSRCNN']
    values = [
        found['Bicubic']['images']['Set5'][image][0] - found['FSRCNN']['images']['Set5'][image][0]
        for image in ('chelsea', 'coffee')
    ]
    assert difference['images'] == 2
    assert difference['mean'] == pytest.approx(np.mean(values))
    assert difference['low'] <= difference['mean'] <= difference['high']
    assert set(found['FSRCNN']['differences']['Set5']) == {HOSTILE}
    lines = (folder / 'out/compare_x4.md').read_text().splitlines()
    assert any(line.startswith('- Bicubic - FSRCNN on Set5: ') for line in lines)
    images = (folder / 'out/compare_images.csv').read_text().splitlines()
    assert images[0] == 'scale,method,protocol,benchmark,image,psnr,ssim'
    assert len(images) == 1 + 3 * 2


def test_squares_lie_where_bicubic_fails_most(folder: Path) -> None:
    compare(folder, '--html', 24, out='crops', archs=())
    (table,) = board.read(folder / 'crops/compare.html')
    for shot in table.shots:
        top, left, height, width = shot.box
        assert (height, width) == (24, 24)
        hr = cv2.imread(str(folder / f'data/Set5/GTmod4/{shot.image}.png'))
        pictures = {label: decode(webp) for label, webp in shot.load().items()}
        assert np.array_equal(pictures[board.HR], hr[top : top + 24, left : left + 24])
        error = np.abs(pictures['Bicubic'].astype(float) - pictures[board.HR]).mean()
        whole = cv2.imread(str(folder / f'crops/x4/Bicubic/Set5/{shot.image}.png'))
        assert error > np.abs(whole.astype(float) - hr).mean()


def test_digests_are_of_values_and_not_of_files(folder: Path, tmp_path: Path) -> None:
    images = {path.stem: path for path in (folder / 'theirs').glob('*.png')}
    before = digests.images_digest(images)
    for name, path in images.items():
        cv2.imwrite(str(tmp_path / f'{name}.png'), cv2.imread(str(path)), [cv2.IMWRITE_PNG_COMPRESSION, 0])
    again = {name: tmp_path / path.name for name, path in images.items()}
    assert again['coffee'].read_bytes() != images['coffee'].read_bytes()
    assert digests.images_digest(again) == before
    assert digests.images_digest({'other': again['coffee'], 'chelsea': again['chelsea']}) != before
    img = cv2.imread(str(again['coffee']))
    img[3, 4, 1] ^= 1
    cv2.imwrite(str(again['coffee']), img)
    assert digests.images_digest(again) != before


# Merging


SET5 = {'name': 'Set5', 'HR': 'h', 'LR': 'l'}


def page(name: str = 'SrSENet', psnr: float = 30.0, **changes: Any) -> board.Table:
    """A page's table with one row."""
    row = {
        'method': name,
        'label': name,
        'protocol': 'uint8',
        'digests': {'weights': 'w', 'code': 'c'},
        'complexity': {'params': 5, 'layers': 1, 'macs': 2, 'activations': 3},
        'latency': None,
        'memory': None,
        'square': None,
        'machine': '',
        'images': {'Set5': {'baby': (psnr, 0.9), 'bird': (psnr + 1, 0.9)}},
        'scores': {'Set5': (psnr + 0.5, 0.9)},
        'table1': {},
        'weights': 'given',
        'notes': [],
        'problems': [],
    }
    benchmarks = changes.pop('benchmarks', {'Set5': SET5})
    protocol = changes.pop('table_protocol', 'uint8')
    row = copy.deepcopy(row | changes)
    shot = board.Shot('Set5', 'baby', (0, 0, 4, 4), lambda: {board.HR: 'hr', name: f'{name} {psnr}'})
    return board.Table(4, protocol, benchmarks, [row], [shot])


def merged(*tables: board.Table) -> tuple[list[board.Table], list[str]]:
    return board.merge({f'page {i}': [table] for i, table in enumerate(tables)})


def test_rows_of_two_pages_are_compared() -> None:
    (table,), notes = merged(page(), page('VDSR', 29.0))
    assert [row['label'] for row in table.rows] == ['SrSENet', 'VDSR']
    assert list(table.benchmarks) == ['Set5']
    (shot,) = table.shots
    assert shot.load() == {board.HR: 'hr', 'SrSENet': 'SrSENet 30.0', 'VDSR': 'VDSR 29.0'}
    assert notes == []


def test_the_same_row_of_two_days_is_one() -> None:
    more = page(psnr=30.0005, benchmarks={'Set5': SET5, 'B100': {'name': 'B100', 'HR': 'b', 'LR': 'b'}}, latency=0.5)
    more.rows[0]['scores']['B100'] = (28.0, 0.8)
    (table,), notes = merged(page(), more)
    (row,) = table.rows
    assert (row['latency'], row['scores']['B100'], notes) == (0.5, (28.0, 0.8), [])
    assert len(table.shots) == 1


@pytest.mark.parametrize(
    ('other', 'reason'),
    [
        (page(digests={'weights': 'v', 'code': 'c'}), 'weights'),
        (page(psnr=30.1), 'figures'),
        (page(psnr=30.1, digests={'weights': 'w', 'code': 'd'}), 'figures and code'),
        (page(complexity={'params': 6, 'layers': 1, 'macs': 2, 'activations': 3}), 'networks'),
        (page(machine='GPU', latency=0.1), 'machines'),
    ],
)
def test_rows_of_one_name_that_differ_are_kept_apart(other: board.Table, reason: str) -> None:
    (table,), notes = merged(page(machine='CPU', latency=1.0), other)
    assert [row['label'] for row in table.rows] == ['SrSENet', 'SrSENet (page 1)']
    assert notes == [f'x4: SrSENet and SrSENet (page 1) are rows of their own: their {reason} differ.']
    assert set(table.shots[0].load()) == {board.HR, 'SrSENet', 'SrSENet (page 1)'}
    # What is merged already is not kept apart from itself.
    again, same_notes = board.merge({'all': [table], 'page 1': [other]})
    assert ([row['label'] for row in again[0].rows], same_notes) == (['SrSENet', 'SrSENet (page 1)'], notes)


@pytest.mark.parametrize(
    ('images', 'kinds'),
    [({'HR': 'h', 'LR': 'k'}, 'LR'), ({'HR': 'g', 'LR': 'l'}, 'HR'), ({'HR': 'g', 'LR': 'k'}, 'HR and LR')],
)
def test_other_images_are_columns_of_their_own(images: dict[str, str], kinds: str) -> None:
    (table,), notes = merged(page(), page('VDSR', benchmarks={'Set5': {'name': 'Set5', **images}}))
    assert list(table.benchmarks) == ['Set5', 'Set5 (page 1)']
    assert [list(row['scores']) for row in table.rows] == [['Set5'], ['Set5 (page 1)']]
    assert notes == [f'x4: Set5 and Set5 (page 1) are columns of their own: their {kinds} images differ.']
    assert [shot.benchmark for shot in table.shots] == ['Set5', 'Set5 (page 1)']
    again, same_notes = board.merge({'all': [table]})
    assert (list(again[0].benchmarks), same_notes) == (list(table.benchmarks), notes)


def test_other_protocols_are_tables_of_their_own() -> None:
    tables, notes = merged(page(), page(), page('VDSR', table_protocol='double'))
    assert [(table.protocol, len(table.rows)) for table in tables] == [('uint8', 1), ('double', 1)]
    assert notes == [
        'x4: uint8 (page 0) and double (page 2) are tables of their own: their protocols differ.',
    ]


def test_the_literal_merge(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    torch.manual_seed(1)
    torch.save(FSRCNN(upscale=4).state_dict(), tmp_path / 'other.pth')
    shutil.copytree(folder / 'data', tmp_path / 'data')
    shutil.copy(tmp_path / 'other.pth', tmp_path / 'fsrcnn.pth')
    compare(tmp_path, '--html', archs=('FSRCNN',), out='other')
    out = tmp_path / 'board.html'
    assert cli.main(['board', str(folder / 'out'), str(tmp_path / 'other/compare.html'), '-o', str(out)]) == 0
    printed = capfd.readouterr().out
    assert 'x4: FSRCNN and FSRCNN (other) are rows of their own: their weights differ.\n' in printed
    (table,) = board.read(out)
    assert [row['label'] for row in table.rows] == ['Bicubic', 'FSRCNN', 'SRCNN', HOSTILE, 'FSRCNN (other)']
    before = out.read_bytes()
    assert cli.main(['board', str(out), str(folder / 'out'), '-o', str(out)]) == 0
    assert out.read_bytes() == before


def test_what_is_no_page_is_named(folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    (tmp_path / 'empty').mkdir()
    text = (folder / 'out/compare.html').read_text()
    (tmp_path / 'cut.html').write_text(text[: len(text) // 2])
    (tmp_path / 'list.html').write_text('<script type="application/json" id="content">[]</script>')
    for place, message in (
        ('empty', 'compare.html is not there. Make it with: srsenet compare --html --out '),
        ('none.html', 'none.html is not there.'),
        ('cut.html', 'cut.html is no page that srsenet compare --html has written, or it is damaged.'),
        ('list.html', 'list.html is no page that'),
    ):
        assert cli.main(['board', str(tmp_path / place), '-o', str(tmp_path / 'out.html')]) == 1
        assert message in (printed := capfd.readouterr().err)
        assert 'Traceback' not in printed
    assert not (tmp_path / 'out.html').exists()


def test_many_images_go_to_a_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tables = board.read(folder / 'out/compare.html')
    monkeypatch.setattr(board, 'MOST_CHARACTERS', 1000)
    board.write(tmp_path / 'a.html', tables)
    files = sorted((tmp_path / 'a_files').iterdir())
    assert len(files) == 2
    assert (tmp_path / 'a.html').stat().st_size < 60_000
    for one, other in zip(board.read(tmp_path / 'a.html')[0].shots, tables[0].shots):
        assert one.load() == other.load()
    (tmp_path / 'a_files/mine.js').write_text('mine')
    tables[0].shots.pop()
    board.write(tmp_path / 'a.html', tables)
    assert sorted(path.name for path in (tmp_path / 'a_files').iterdir()) == sorted(
        [board.read(tmp_path / 'a.html')[0].shots[0].load.args[0].name, 'mine.js']  # type: ignore[attr-defined]
    )
    for file in files:
        file.write_text('board.arrived("x", {"":') if file.exists() else None
    assert cli.main(['board', str(tmp_path / 'a.html'), '-o', str(tmp_path / 'b.html')]) == 1
    assert not (tmp_path / 'b.html').exists()


# In a browser


@pytest.fixture(scope='module')
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[browser.Browser]:
    if not browser.CHROMIUM:
        pytest.skip('there is no Chromium; on Debian: apt-get install chromium')
    with browser.chromium(tmp_path_factory.mktemp('profile')) as opened:
        yield opened


@pytest.mark.parametrize(('width', 'dark', 'touch'), [(1400, False, False), (1400, True, False), (390, False, True)])
def test_pages_open_without_errors(folder: Path, window: browser.Browser, width: int, dark: bool, touch: bool) -> None:
    window.errors.clear()
    window.open(folder / 'out/compare.html', width, 900, dark, touch)
    assert window.errors == []
    assert window.run('document.documentElement.scrollWidth') <= width
    assert window.run('getComputedStyle(document.body).backgroundColor') == (
        'rgb(20, 23, 26)' if dark else 'rgb(255, 255, 255)'
    )
    assert HOSTILE in window.run('document.querySelector("#figures").innerText')
    assert window.run('document.querySelectorAll("#plot circle").length') > 0
    texts = window.run('[...document.querySelectorAll("#differences text")].map(text => text.textContent)')
    assert {'FSRCNN', HOSTILE} < set(texts)
    assert len([text for text in texts if '[' in text]) == 2


def methods(window: browser.Browser) -> list[str]:
    return window.run('[...document.querySelectorAll("#figures tbody th")].map(cell => cell.innerText)')


def test_the_table_sorts(folder: Path, window: browser.Browser) -> None:
    window.open(folder / 'out/compare.html')
    found = json.loads((folder / 'out/compare.json').read_text())['4']
    scored = sorted(
        (name for name in found if found[name]['scores']), key=lambda name: -found[name]['scores']['Set5'][0]
    )
    heading = '#figures thead th:nth-child(2)'
    window.click(f'{heading} button')
    assert methods(window) == [*scored, 'SRCNN']  # the unknown last
    assert window.run(f'document.querySelector("{heading}").getAttribute("aria-sort")') == 'descending'
    window.key('Enter')
    assert methods(window) == [*reversed(scored), 'SRCNN']
    assert window.run(f'document.querySelector("{heading}").getAttribute("aria-sort")') == 'ascending'
    window.click('#figures thead th:first-child button')
    assert methods(window) == sorted(found, key=str.lower)


def choose(window: browser.Browser, name: str, text: str) -> None:
    window.run(
        f'(() => {{ const list = document.getElementById({json.dumps(name)}); '
        f'list.value = [...list.options].find(option => option.text === {json.dumps(text)}).value; '
        "list.dispatchEvent(new Event('change')); })()"
    )
    window.settle()


class Panes:
    """The three canvases, with left and right of the divider, of chelsea."""

    def __init__(self, folder: Path, window: browser.Browser) -> None:
        self.window = window
        images = {
            'hr': folder / 'data/Set5/GTmod4/chelsea.png',
            'left': folder / 'out/x4/FSRCNN/Set5/chelsea.png',
            'right': folder / 'theirs/chelsea.png',
        }
        self.images = {name: cv2.imread(str(path))[..., ::-1].astype(float) for name, path in images.items()}
        self.heat = np.array(window.run('heat'))
        self.height, self.width = self.images['hr'].shape[:2]
        choose(window, 'image', 'Set5 chelsea')
        choose(window, 'left', 'FSRCNN')
        choose(window, 'right', HOSTILE)

    def view(self) -> dict[str, float]:
        return self.window.run('({...view})')

    def check(self) -> dict[str, float]:
        """All three show what the view says, at a grid of places; returns the view."""
        view = self.view()
        for canvas, name in (('slider', ''), ('leftError', 'left'), ('rightError', 'right')):
            drawn = decode(self.window.run(f'{canvas}.toDataURL()').partition(',')[2])[..., ::-1]
            size = drawn.shape[1], drawn.shape[0]
            pixel = size[0] * view['zoom'] / self.width
            checked = 0
            for row in range(0, self.height, 5):
                for column in range(0, self.width, 5):
                    x = (column + 0.5 - view['x'] * self.width) * pixel + size[0] / 2
                    y = (row + 0.5 - view['y'] * self.height) * pixel + size[1] / 2
                    at_divider = abs(x - view['divider'] * size[0]) < 12
                    if not (0 <= x < size[0] and 0 <= y < size[1]) or (canvas == 'slider' and at_divider):
                        continue
                    of = name or ('left' if x < view['divider'] * size[0] else 'right')
                    expected = self.expected(of, row, column, bool(name))
                    assert list(drawn[int(y), int(x)]) == pytest.approx(expected, abs=1.01)
                    checked += 1
            assert checked > 3
        return view

    def expected(self, name: str, row: int, column: int, error: bool) -> list[float]:
        value = self.images[name][row, column]
        if not error:
            return list(value)
        y = abs((value - self.images['hr'][row, column]) @ [65.481, 128.553, 24.966]) / 255
        colours = self.heat
        return [np.interp(min(1, y / 40), np.linspace(0, 1, len(colours)), channel) for channel in colours.T]


def test_the_divider_moves(folder: Path, window: browser.Browser) -> None:
    window.open(folder / 'out/compare.html')
    panes = Panes(folder, window)
    assert panes.check()['divider'] == 0.5
    window.drag('#slider', (0.5, 0.5), (0.2, 0.4))
    assert panes.check()['divider'] == pytest.approx(0.2, abs=0.01)
    window.run('slider.focus()')
    window.key('ArrowRight')
    assert panes.view()['divider'] == pytest.approx(0.22, abs=0.01)
    window.run('divider.focus()')
    for _ in range(4):
        window.key('ArrowRight')
    assert panes.check()['divider'] == pytest.approx(0.24, abs=0.01)
    captions = window.run('[...document.querySelectorAll(".panes figcaption")].map(one => one.innerText).join(" ")')
    found = json.loads((folder / 'out/compare.json').read_text())['4']
    for method in ('FSRCNN', HOSTILE):
        psnr, ssim = found[method]['images']['Set5']['chelsea']
        assert f'{method} {psnr:.2f} dB / {ssim:.4f}' in captions


def test_zoom_and_moves_keep_all_in_step(folder: Path, window: browser.Browser) -> None:
    window.open(folder / 'out/compare.html')
    panes = Panes(folder, window)

    def shown(view: dict[str, float], at: tuple[float, float]) -> list[float]:
        return [view[name] + (share - 0.5) / view['zoom'] for name, share in zip('xy', at)]

    before = panes.view()
    for canvas, at in (('#slider', (0.3, 0.6)), ('#rightError', (0.7, 0.2))):
        window.wheel(canvas, at, -400)
        view = panes.check()
        assert view['zoom'] > before['zoom'] + 0.5
        assert shown(view, at) == pytest.approx(shown(before, at), abs=0.01)  # the place under the pointer stays
        before = view
    window.drag('#leftError', (0.5, 0.5), (0.4, 0.3))
    moved = panes.check()
    assert moved['x'] - before['x'] == pytest.approx(0.1 / before['zoom'], abs=0.005)
    assert moved['y'] - before['y'] == pytest.approx(0.2 / before['zoom'], abs=0.005)
    window.run('rightError.focus()')
    window.key('ArrowLeft')
    assert panes.check()['x'] == pytest.approx(moved['x'] - 0.1 / moved['zoom'])
    window.key('+')
    assert panes.check()['zoom'] == pytest.approx(moved['zoom'] * 1.25)
    window.key('0')
    assert panes.check() == {'x': 0.5, 'y': 0.5, 'zoom': 1, 'divider': 0.5}
    window.click('#in')
    assert panes.view()['zoom'] == 1.5


def test_two_fingers_zoom(folder: Path, window: browser.Browser) -> None:
    window.open(folder / 'out/compare.html', 390, 844, touch=True)
    panes = Panes(folder, window)
    (left, y), (right, _) = window.place('#slider', 0.4), window.place('#slider', 0.6)
    window.touch('touchStart', (left, y), (right, y))
    for spread in (10, 25, 45):
        window.touch('touchMove', (left - spread, y), (right + spread, y))
    window.touch('touchEnd')
    window.settle()
    zoom = panes.check()['zoom']
    assert zoom == pytest.approx((right - left + 90) / (right - left), rel=0.1)


def test_pages_with_a_folder_open_too(
    folder: Path, tmp_path: Path, window: browser.Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board, 'MOST_CHARACTERS', 1000)
    board.write(tmp_path / 'a b#.html', board.read(folder / 'out/compare.html'))
    window.errors.clear()
    window.open(tmp_path / 'a b#.html')
    Panes(folder, window).check()
    choose(window, 'image', 'Set5 coffee')
    window.until('shown.image === "coffee"')
    assert window.errors == []
    shutil.rmtree(tmp_path / 'a b#_files')
    window.open(tmp_path / 'a b#.html', ready='document.querySelector("#strip").innerText')
    assert 'a b#_files has to lie beside this page.' in window.run('document.querySelector("#strip").innerText')


def test_merged_pages_choose_between_tables(window: browser.Browser, folder: Path, tmp_path: Path) -> None:
    (table,) = board.read(folder / 'out/compare.html')
    (other,) = board.read(folder / 'out/compare.html')
    other.protocol = 'double'
    other.rows = other.rows[:1]
    other.shots.clear()
    board.write(tmp_path / 'two.html', [table, other], ['a note'])
    window.errors.clear()
    window.open(tmp_path / 'two.html')
    assert window.run('notes.innerText') == 'a note'
    assert len(methods(window)) == 4
    choose(window, 'table', 'x4, protocol double')
    assert methods(window) == ['Bicubic']
    assert window.run('images.hidden')
    assert window.errors == []


def test_pages_without_scores_show_costs(folder: Path, tmp_path: Path, window: browser.Browser) -> None:
    (table,) = board.read(folder / 'out/compare.html')
    for row in table.rows:
        row |= {'images': {}, 'scores': {}}
    board.write(tmp_path / 'costs.html', [board.Table(4, 'uint8', {}, table.rows)])
    window.errors.clear()
    window.open(tmp_path / 'costs.html', ready='document.querySelector("#figures td")')
    assert window.errors == []
    assert len(methods(window)) == 4
    for section in ('.pair', '#images'):
        assert window.run(f'document.querySelector({section!r}).getClientRects().length') == 0


def test_the_published_board(window: browser.Browser) -> None:
    """It has the documents' figures, and opens."""
    page = ROOT / 'docs/board_x4.html'
    assert page.stat().st_size < 1_500_000
    (table,) = board.read(page)
    text = (ROOT / 'docs/compare.md').read_text(encoding='utf-8')
    table1 = text[text.index('\n| x4 |') :]
    assert len(table.rows) == 8
    for row in table.rows:
        psnr, ssim = row['scores']['Set5']
        line = next(line for line in table1.splitlines() if line.startswith(f'| {row["label"]} |'))
        assert f'| {psnr:.2f} / {ssim:.4f} |' in line
    window.errors.clear()
    window.open(page)
    assert window.errors == []
