"""A headless Chromium, driven by its DevTools protocol through two pipes."""

from __future__ import annotations

import base64
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHROMIUM = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)


class Browser:
    """One page. ``errors`` holds what its console has of errors and warnings, and all that it asked a network for."""

    def __init__(self, to_browser: int, from_browser: int) -> None:
        self._to, self._from = to_browser, from_browser
        self._ids = itertools.count(1)
        self._received = b''
        self._session: str | None = None
        self.errors: list[str] = []
        target = self._call('Target.createTarget', url='about:blank')['targetId']
        self._session = self._call('Target.attachToTarget', targetId=target, flatten=True)['sessionId']
        for domain in ('Page', 'Runtime', 'Log', 'Network'):
            self._call(f'{domain}.enable')

    def open(
        self,
        page: Path,
        width: int = 1400,
        height: int = 1000,
        dark: bool = False,
        touch: bool = False,
        ready: str = 'document.querySelector("#strip button")',
    ) -> None:
        """Opens a file in a window of this size and waits until its images are drawn."""
        self._call('Emulation.setDeviceMetricsOverride', width=width, height=height, deviceScaleFactor=1, mobile=touch)
        self._call('Emulation.setTouchEmulationEnabled', enabled=touch, maxTouchPoints=2)
        scheme = {'name': 'prefers-color-scheme', 'value': 'dark' if dark else 'light'}
        self._call('Emulation.setEmulatedMedia', features=[scheme])
        self._call('Page.navigate', url=page.resolve().as_uri())
        self.until(f'document.readyState === "complete" && {ready}')
        self.settle()

    def run(self, script: str) -> Any:
        """The value of an expression, or of the promise that it gives."""
        result = self._call('Runtime.evaluate', expression=script, returnByValue=True, awaitPromise=True)
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def until(self, condition: str) -> None:
        deadline = time.monotonic() + 30
        while not self.run(f'Boolean({condition})'):
            assert time.monotonic() < deadline, f'{condition} did not come true; {self.errors}'
            time.sleep(0.05)

    def settle(self) -> None:
        """Waits until what was asked for is drawn."""
        self.run('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(0))))')

    def place(self, selector: str, x: float = 0.5, y: float = 0.5) -> tuple[float, float]:
        """A place within an element, in shares of it, scrolled into view; as coordinates of the window."""
        return tuple(
            self.run(
                f'(() => {{ const found = document.querySelector({json.dumps(selector)}); '
                "found.scrollIntoView({block: 'center'}); const box = found.getBoundingClientRect(); "
                f'return [box.left + {x} * box.width, box.top + {y} * box.height]; }})()'
            )
        )

    def mouse(self, kind: str, at: tuple[float, float], **options: Any) -> None:
        self._call('Input.dispatchMouseEvent', type=kind, x=at[0], y=at[1], **options)

    def click(self, selector: str) -> None:
        at = self.place(selector)
        for kind in ('mousePressed', 'mouseReleased'):
            self.mouse(kind, at, button='left', clickCount=1)
        self.settle()

    def drag(self, selector: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        self.mouse('mousePressed', self.place(selector, *start), button='left', clickCount=1)
        self.mouse('mouseMoved', self.place(selector, *end), button='left', buttons=1)
        self.mouse('mouseReleased', self.place(selector, *end), button='left', clickCount=1)
        self.settle()

    def wheel(self, selector: str, at: tuple[float, float], delta: float) -> None:
        self.mouse('mouseWheel', self.place(selector, *at), deltaX=0, deltaY=delta)
        self.settle()

    def touch(self, kind: str, *points: tuple[float, float]) -> None:
        touches = [{'x': x, 'y': y, 'id': i} for i, (x, y) in enumerate(points)]
        self._call('Input.dispatchTouchEvent', type=kind, touchPoints=touches)

    def key(self, key: str) -> None:
        text = {'text': key} if len(key) == 1 else {}
        codes = {'Tab': 9, 'Enter': 13, 'ArrowLeft': 37, 'ArrowRight': 39, 'ArrowDown': 40}
        if key == 'Enter':
            text = {'text': '\r'}
        code = codes.get(key, ord(key[0]))
        self._call('Input.dispatchKeyEvent', type='keyDown', key=key, windowsVirtualKeyCode=code, **text)
        self._call('Input.dispatchKeyEvent', type='keyUp', key=key, windowsVirtualKeyCode=code)
        self.settle()

    def screenshot(self, path: Path) -> None:
        """Of the whole page."""
        png = self._call('Page.captureScreenshot', captureBeyondViewport=True)['data']
        path.write_bytes(base64.b64decode(png))

    def _call(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._ids)
        message = {'id': number, 'method': method, 'params': params}
        if self._session:
            message['sessionId'] = self._session
        os.write(self._to, json.dumps(message).encode() + b'\0')
        while True:
            answer = self._receive()
            if answer.get('id') == number:
                assert 'error' not in answer, (method, answer)
                return answer['result']
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b'\0' not in self._received:
            assert select.select([self._from], [], [], 60)[0], 'Chromium does not answer'
            chunk = os.read(self._from, 1 << 20)
            assert chunk, 'Chromium has ended'
            self._received += chunk
        message, _, self._received = self._received.partition(b'\0')
        return json.loads(message)

    def _note(self, event: dict[str, Any]) -> None:
        params = event.get('params', {})
        method = event.get('method')
        if method == 'Runtime.exceptionThrown':
            self.errors.append(str(params['exceptionDetails'].get('exception', params)))
        elif method == 'Log.entryAdded' and params['entry']['level'] in ('error', 'warning'):
            self.errors.append(params['entry']['text'])
        elif method == 'Runtime.consoleAPICalled' and params['type'] in ('error', 'warning', 'assert'):
            self.errors.append(str(params['args']))
        elif method == 'Network.requestWillBeSent':
            url = params['request']['url']
            if not url.startswith(('file:', 'data:', 'about:')):
                self.errors.append(url)


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    moved = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 20) for end in ends)
    for end in ends:
        os.close(end)
    return moved


@contextmanager
def chromium(profile: Path) -> Iterator[Browser]:
    """Starts Chromium with a profile of its own, and ends it."""
    assert CHROMIUM
    # Chromium reads at 3 and writes at 4; ours are moved out of the way of these.
    (reads, to_browser), (from_browser, writes) = _pipe(), _pipe()

    def as_3_and_4() -> None:
        os.dup2(reads, 3)
        os.dup2(writes, 4)

    arguments = ('--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--no-first-run')
    process = subprocess.Popen(
        [CHROMIUM, *arguments, f'--user-data-dir={profile}', '--remote-debugging-pipe', 'about:blank'],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        close_fds=False,
        preexec_fn=as_3_and_4,
        start_new_session=True,
    )
    os.close(reads)
    os.close(writes)
    try:
        yield Browser(to_browser, from_browser)
    finally:
        os.close(to_browser)  # at which it ends
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        os.close(from_browser)
