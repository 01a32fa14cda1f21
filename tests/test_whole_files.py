from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from srsenet_plugin.data.whole_files import MARK, remove_leftovers, whole_file


@pytest.fixture(autouse=True)
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def names() -> set[str]:
    return {path.name for path in Path().rglob('*')}


def fail_after_writing(path: Path, error: type[BaseException]) -> None:
    path.write_text('half')
    raise error


def test_a_file_appears_whole_with_the_permissions_of_any_other() -> None:
    path = Path('weights.pth')
    path.write_text('old')
    before = os.umask(0o027)
    try:
        with whole_file(path) as part:
            part.write_text('new')
            assert path.read_text() == 'old'
            assert part.suffix == '.pth'
    finally:
        os.umask(before)
    assert path.read_text() == 'new'
    assert path.stat().st_mode & 0o777 == 0o640
    assert names() == {'weights.pth'}


@pytest.mark.parametrize('name', ['a' * 251 + '.png', 'a.' + 'b' * 253, '超' * 83 + '.jpeg'])
def test_the_longest_names_work(name: str) -> None:
    with whole_file(Path(name)) as part:
        part.write_text('new')
    assert names() == {name}


@pytest.mark.parametrize('error', [ValueError, KeyboardInterrupt])
def test_what_fails_leaves_the_old_file_and_all_that_belongs_to_others(error: type[BaseException]) -> None:
    own = ['a.png', 'a.png.part', 'a.part.png', '.a.png.part', f'{MARK}-1.png']
    for name in own:
        Path(name).write_text(f'of the user: {name}')
    with pytest.raises(error), whole_file(Path('a.png')) as part:
        fail_after_writing(part, error)
    for name in own:
        assert Path(name).read_text() == f'of the user: {name}'
    assert names() == set(own)


def test_an_error_names_the_file_that_was_wanted() -> None:
    with pytest.raises(FileNotFoundError) as error, whole_file(Path('missing/a.png')):
        pass
    assert error.value.filename == os.path.join('missing', 'a.png')
    Path('folder').mkdir()
    with pytest.raises(IsADirectoryError) as error, whole_file(Path('folder')):
        pass
    assert error.value.filename == 'folder'
    assert names() == {'folder'}


def test_many_may_write_one_file() -> None:
    def write(letter: str) -> None:
        for _ in range(20):
            with whole_file(Path('a.txt')) as part:
                part.write_text(letter * 5000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in 'xyz']
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Path('a.txt').read_text() in ('x' * 5000, 'y' * 5000, 'z' * 5000)
    assert names() == {'a.txt'}


def test_leftovers_are_removed_by_their_mark_alone() -> None:
    Path(f'.{MARK}-0123.pth').write_text('half')
    own = {'net.pth.part', f'my.{MARK}', f'a-{MARK}-b.pth', f'.{MARK}-folder'}
    for name in own - {f'.{MARK}-folder'}:
        Path(name).write_text('of the user')
    Path(f'.{MARK}-folder').mkdir()
    remove_leftovers(Path())
    remove_leftovers(Path('missing'))
    assert names() == own
