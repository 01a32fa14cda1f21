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
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType
    from typing import ClassVar


def _let_plugin_in(run_body: 'Callable[[], None]') -> None:
    """Before the body, because modules such as ``basicsr.train`` bind by name functions that have to be mended."""
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
    run_body()


class PluginFinder:
    """Meta path finder that lets the plugin in when certain modules are imported.

    Attributes:
        around: For each of these modules a function, which runs in place of its body and is given the body to call.
    """

    around: 'ClassVar[dict[str, Callable[[Callable[[], None]], None]]]' = {'basicsr': _let_plugin_in}  # noqa: RUF012

    @classmethod
    def find_spec(
        cls, fullname: str, path: 'Sequence[str] | None' = None, target: 'ModuleType | None' = None
    ) -> 'ModuleSpec | None':
        if fullname not in cls.around:
            return None
        for finder in sys.meta_path:
            if finder is cls:
                continue
            spec = finder.find_spec(fullname, path, target)
            if spec is not None:
                spec = _old_copy(spec) or spec if fullname == 'basicsr' else spec
                if spec.loader is not None:  # any other folder without __init__.py is not the package
                    _wrap_body(spec, cls.around[fullname])
                return spec
        # An import statement passes here, importlib.util.find_spec does not: it has to go on answering None.
        caller = sys._getframe(1).f_back
        if fullname == 'basicsr' and caller and caller.f_code.co_name == '_find_and_load_unlocked':
            raise ModuleNotFoundError(
                f'BasicSR is not installed for {sys.executable}. Install it with: srsenet install-basicsr',
                name=fullname,
            )
        return None


class OldCopyLoader:
    """Loads the folder of an old BasicSR, which has no ``__init__.py``."""

    @staticmethod
    def create_module(spec: 'ModuleSpec') -> None:
        """Lets Python make the module."""

    @staticmethod
    def exec_module(module: 'ModuleType') -> None:
        """Does nothing: there is no body."""


def _old_copy(found: 'ModuleSpec') -> 'ModuleSpec | None':
    """The old BasicSR that some projects carry (NAFNet, Restormer), where it comes first on the path.

    Python prefers a package with ``__init__.py``, however far back, so the installed BasicSR would hide it.
    """
    for entry in sys.path:
        folder = os.path.join(entry, 'basicsr')
        if os.path.isfile(os.path.join(folder, '__init__.py')):
            return None
        if os.path.isfile(os.path.join(folder, 'train.py')):
            spec = type(found)('basicsr', OldCopyLoader(), is_package=True)  # type: ignore[arg-type]
            spec.submodule_search_locations = [os.path.abspath(folder)]
            return spec
    return None


def _wrap_body(spec: 'ModuleSpec', around: 'Callable[[Callable[[], None]], None]') -> None:
    # The method of this one loader object is replaced and the loader kept, so that inspect, runpy and
    # importlib.resources see the loader they know.
    loader = spec.loader
    exec_module = loader.exec_module  # type: ignore[union-attr]
    loader.exec_module = lambda module: around(lambda: exec_module(module))  # type: ignore[union-attr, method-assign]


def install() -> 'type[PluginFinder]':
    """Puts the hook on ``sys.meta_path``, once, and returns the one that is there."""
    # By name: Python may run .pth files twice in a virtual environment, and then the class is another object.
    for finder in sys.meta_path:
        if getattr(finder, '__name__', '') == PluginFinder.__name__:
            return finder  # type: ignore[return-value]
    sys.meta_path.insert(0, PluginFinder)
    return PluginFinder


if os.environ.get('SRSENET_PLUGIN_AUTOLOAD') != '0':
    install()
