"""The import hook through which an unmodified BasicSR knows the plugin.

``srsenet_plugin.pth`` in site-packages runs this file at every interpreter start, without importing the package around
it. So nothing may be imported here that Python has not loaded by then, not even ``__future__``, and nothing printed.

The environment variable ``SRSENET_PLUGIN_AUTOLOAD=0`` switches it off. ``import srsenet_plugin`` does the same work
explicitly.
"""

import os
import sys

TYPE_CHECKING = False  # typing is not loaded at interpreter start
if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


class BasicSRFinder:
    """Meta path finder that lets the plugin in just before the body of ``basicsr/__init__.py`` runs.

    Before, not after: modules such as ``basicsr.train`` bind ``parse_options`` and others by name, so these have to be
    mended by then.
    """

    @classmethod
    def find_spec(
        cls, fullname: str, path: 'Sequence[str] | None' = None, target: 'ModuleType | None' = None
    ) -> 'ModuleSpec | None':
        if fullname != 'basicsr':
            return None
        for finder in sys.meta_path:
            if finder is cls:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                if spec.origin is not None:  # a folder without __init__.py is not the toolbox
                    _run_plugin_first(spec)
                return spec
        return None


def _run_plugin_first(spec: 'ModuleSpec') -> None:
    # The method of this one loader object is replaced and the loader kept, so that inspect, runpy and
    # importlib.resources see the loader they know.
    loader = spec.loader
    exec_module = loader.exec_module  # type: ignore[union-attr]

    def exec_plugin_and_module(module: 'ModuleType') -> None:
        try:
            import srsenet_plugin

            srsenet_plugin.register()
        except Exception as error:
            import warnings

            warnings.warn(
                f'basicsr is imported without srsenet_plugin, which failed with {type(error).__name__}: {error}. '
                'Run `srsenet doctor` for details, or set SRSENET_PLUGIN_AUTOLOAD=0.',
                stacklevel=2,
            )
        exec_module(module)

    loader.exec_module = exec_plugin_and_module  # type: ignore[union-attr, method-assign]


def install() -> None:
    """Puts the hook on ``sys.meta_path``, once."""
    # By name, because after a reload the class is another object.
    if not any(getattr(finder, '__name__', '') == BasicSRFinder.__name__ for finder in sys.meta_path):
        sys.meta_path.insert(0, BasicSRFinder)


if os.environ.get('SRSENET_PLUGIN_AUTOLOAD') != '0':
    install()
