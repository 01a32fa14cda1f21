"""Registering without standing in the way of a project's own architectures and losses.

A project may well use a name of ours too, such as SRCNN. The registries refuse a name that is taken, which would break
such a project as soon as the plugin is there. So a class of its own keeps its name, or replaces ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def register_networks() -> tuple[bool, str]:
    """SrSENet and the networks that the paper compares with."""
    from basicsr.utils.registry import ARCH_REGISTRY

    from srsenet_plugin.archs import ARCHS

    return register_giving_way(ARCH_REGISTRY, ARCHS)


def register_losses() -> tuple[bool, str]:
    """The losses of these networks."""
    from basicsr.utils.registry import LOSS_REGISTRY

    from srsenet_plugin.losses import LOSSES

    return register_giving_way(LOSS_REGISTRY, LOSSES)


# What builds on BasicSR's classes registers itself: it may be the import that has brought us here.


def register_dataset() -> tuple[bool, str]:
    """The dataset of LMDBs of whole images."""
    import srsenet_plugin.data.paired_lmdb_dataset  # noqa: F401

    return True, 'registered PairedLmdbDataset'


def register_model() -> tuple[bool, str]:
    """The model that trains faster."""
    import srsenet_plugin.models.accelerated_sr_model  # noqa: F401

    return True, 'registered AcceleratedSRModel'


def register_giving_way(registry: Any, classes: tuple[type, ...]) -> tuple[bool, str]:
    """Registers classes with BasicSR, each under its name, unless the name is taken.

    Args:
        registry: One of ``basicsr.utils.registry``.
        classes: The classes.
    """
    ours = {cls.__name__: cls for cls in classes if cls.__name__ not in registry}
    for cls in ours.values():
        registry.register(cls)
    do_register = registry._do_register

    def register_or_replace(name: str, obj: Any, *suffix: Any, **named_suffix: Any) -> None:  # BasicSR 1.3 has none
        given = [value for value in (*suffix, *named_suffix.values()) if value is not None]
        if not given and name in ours and registry._obj_map.get(name) is ours[name]:
            del registry._obj_map[name]
        do_register(name, obj, *suffix, **named_suffix)

    registry._do_register = register_or_replace
    taken = [cls.__name__ for cls in classes if cls.__name__ not in ours]
    left = f'; left the names that are taken: {", ".join(taken)}' if taken else ''
    return bool(ours), f'registered {", ".join(ours)}{left}'


def register_giving_way_in_mmengine(registry: Any, classes: tuple[type, ...]) -> None:
    """Registers classes with mmengine, each under its name, unless the name is taken.

    Args:
        registry: An ``mmengine.registry.Registry``.
        classes: The classes.
    """
    ours = {cls.__name__: cls for cls in classes if cls.__name__ not in registry.module_dict}
    for cls in ours.values():
        registry.register_module(module=cls)
    stock = registry._register_module

    def register_or_replace(module: Any, module_name: str | Sequence[str] | None = None, force: bool = False) -> None:
        default = getattr(module, '__name__', '')
        names = [module_name] if isinstance(module_name, str) else module_name or [default]
        for name in names:
            if name in ours and registry.module_dict.get(name) is ours[name]:
                del registry._module_dict[name]
        stock(module=module, module_name=module_name, force=force)

    registry._register_module = register_or_replace
