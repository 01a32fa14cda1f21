"""A project's own subclass of SRModel as the base of AcceleratedSRModel."""

from __future__ import annotations

from basicsr.models.base_model import BaseModel
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from srsenet_plugin.models.stopping import TrainingStopped

# What AcceleratedSRModel does instead of SRModel, without asking it.
REPLACED = ('optimize_parameters', 'model_ema', 'get_current_log', 'save', 'load_network')
VALIDATIONS = ('validation', 'dist_validation', 'nondist_validation')


def on_top_of(accelerated: type[SRModel], base_model: str) -> type[SRModel]:
    """AcceleratedSRModel with another base: the base's additions to SRModel stay, such as its validation.

    Args:
        accelerated: AcceleratedSRModel, which calls SRModel's methods by ``super()``.
        base_model: The name of a registered subclass of SRModel.

    Raises:
        TrainingStopped: There is none of this name, or it has steps or checkpoints of its own, which would be lost.
    """
    if not isinstance(base_model, str) or base_model not in MODEL_REGISTRY:
        raise TrainingStopped(f'base_model: {base_model!r} is not registered. It is the name of a subclass of SRModel.')
    base = MODEL_REGISTRY.get(base_model)
    if not isinstance(base, type) or not issubclass(base, SRModel) or issubclass(base, accelerated):
        raise TrainingStopped(f'base_model: {base_model} is no subclass of SRModel.')
    own = [name for name in REPLACED if getattr(base, name) is not getattr(SRModel, name)]
    if own:
        raise TrainingStopped(
            f'base_model: {base_model} has its own {", ".join(own)}, which AcceleratedSRModel would replace. '
            f'Train it with model_type: {base_model}.'
        )
    return type(f'Accelerated{base_model}', (accelerated, base), {'_base': base})


def validates_in_its_own_way(base: type[SRModel]) -> bool:
    """Whether a model has another loop over the images of a validation than SRModel."""
    return any(getattr(base, name) is not getattr(SRModel, name) for name in VALIDATIONS)


def tests_in_its_own_way(base: type[BaseModel]) -> bool:
    """Whether a model upscales a batch in another way than SRModel."""
    return base.test is not SRModel.test
