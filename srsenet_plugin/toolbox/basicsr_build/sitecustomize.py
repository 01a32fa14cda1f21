"""Lets BasicSR's ``setup.py`` run on Python 3.13 and newer, where it ends in ``KeyError: '__version__'``.

Its ``get_version()`` runs ``exec`` on a file and reads ``locals()['__version__']``. Since Python 3.13 (PEP 667),
``exec`` writes into a copy of a function's variables. A frame's ``f_locals`` still writes into the function itself, and
``locals()`` shows what was added there. On older Pythons this changes nothing.

Python imports a module of this name at its start, from the first folder of PYTHONPATH that has one. No other process is
touched.
"""

import sys
from typing import Any


def _write_into_get_version(event: str, args: tuple[Any, ...]) -> None:
    if event == 'exec':
        caller = sys._getframe().f_back
        if caller and caller.f_code.co_name == 'get_version':
            exec(args[0], caller.f_globals, caller.f_locals)


sys.addaudithook(_write_into_get_version)
