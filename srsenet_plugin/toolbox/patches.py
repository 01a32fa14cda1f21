"""All that the plugin changes in BasicSR: one list, which is applied, which ``srsenet doctor`` prints and docs quote.

Each patch is applied by itself. One that fails leaves the others to work, and a warning names it.
"""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Sequence
from functools import cache
from typing import Literal, NamedTuple


class Patch(NamedTuple):
    """A change to BasicSR.

    Attributes:
        function: Where in ``srsenet_plugin.toolbox`` the function is that makes it. The function returns whether it
            changed something here, and a sentence that says why or why not.
        changes: The names in BasicSR that mean something else afterwards. ``*`` stands for a registry's entries.
        without: BasicSR without it.
        plugin: BasicSR with it.
        needed: Since which version of which package, and until when.
        test: The test that fails once BasicSR does without it, or that shows that it works.
    """

    function: str
    changes: tuple[str, ...]
    without: str
    plugin: str
    needed: str
    test: str

    @property
    def name(self) -> str:
        return self.function.rpartition('.')[2]


# In the order in which they are applied: modules of BasicSR that others import names from come first.
PATCHES = (
    Patch(
        'compat.functional_tensor',
        ('torchvision.transforms.functional_tensor',),
        '`import basicsr` fails: there is no `torchvision.transforms.functional_tensor` (BasicSR issue 663)',
        'works, for projects on top such as Real-ESRGAN and GFPGAN too',
        'torchvision 0.17 and newer, until BasicSR imports from `transforms.functional`',
        'test_compat.py::test_functional_tensor',
    ),
    Patch(
        'compat.version_of_a_clone',
        ('basicsr.version',),
        '`import basicsr` fails in a clone that was never installed: there is no `basicsr/version.py`',
        'works; the version is that in `VERSION`',
        'BasicSR up to 1.4.2, until its `version.py` is in the repository',
        'test_projects.py::test_a_clone_that_was_never_installed',
    ),
    Patch(
        'compat.distutils_version',
        ('distutils', 'distutils.version'),
        '`import basicsr` fails: there is no `distutils`',
        'works',
        'Python 3.12 and newer without setuptools, until BasicSR compares versions otherwise',
        'test_compat.py::test_distutils_version',
    ),
    Patch(
        'compat.scipy_filters',
        ('scipy.ndimage.filters',),
        '`import basicsr` fails: there is no `scipy.ndimage.filters`',
        'works',
        'SciPy 2.0, as SciPy 1.17 announces it, until BasicSR imports from `scipy.ndimage`',
        'test_compat.py::test_scipy_filters',
    ),
    Patch(
        'compat.colours_in_matlab_functions',
        (
            'basicsr.utils.matlab_functions.rgb2ycbcr',
            'basicsr.utils.matlab_functions.bgr2ycbcr',
            'basicsr.utils.matlab_functions.ycbcr2rgb',
            'basicsr.utils.matlab_functions.ycbcr2bgr',
        ),
        'projects made for BasicSR 1.3, such as HAT, fail: `utils.matlab_functions` has no `rgb2ycbcr`',
        'they find `rgb2ycbcr`, `bgr2ycbcr`, `ycbcr2rgb` and `ycbcr2bgr` there',
        'BasicSR 1.4.2 (1.3.4.9 has them), as long as projects import the names from there',
        'test_compat.py::test_colours_in_matlab_functions',
    ),
    Patch(
        'compat.losses_in_one_module',
        ('basicsr.losses.losses',),
        'projects made for BasicSR 1.3, such as SwinFIR, fail: there is no `basicsr.losses.losses`',
        'works',
        'BasicSR 1.4.2, as long as projects import from there',
        'test_compat.py::test_losses_in_one_module',
    ),
    Patch(
        'compat.safe_option_files',
        ('basicsr.utils.options.ordered_yaml',),
        'option files can run code, and deep nesting in them crashes Python',
        'plain values only, in bounded size',
        'everywhere, until BasicSR reads option files with a safe loader',
        'test_compat.py::test_option_files_run_code_in_the_stock_toolbox',
    ),
    Patch(
        'compat.ops_without_extension',
        (
            'basicsr.ops.fused_act.fused_leaky_relu',
            'basicsr.ops.fused_act.fused_act.fused_leaky_relu',
            'basicsr.ops.upfirdn2d.upfirdn2d',
            'basicsr.ops.upfirdn2d.upfirdn2d.upfirdn2d',
        ),
        "StyleGAN2's layers (GFPGAN) end in a NameError where BasicSR was installed without its CUDA extension",
        'the same layers in torch',
        'everywhere, until BasicSR has them in torch',
        'test_compat.py::test_ops_without_extension',
    ),
    Patch(
        'compat.filters_in_any_layout',
        ('basicsr.utils.img_process_util.filter2D',),
        "Real-ESRGAN's degradations fail in `filter2D` on images whose channels lie last in memory",
        'it takes images in any layout',
        'torch 2.14 on the CPU (older ones were not tried), until `filter2D` reshapes instead of viewing',
        'test_compat.py::test_filters_in_any_layout',
    ),
    Patch(
        'compat.whole_jpeg_qualities',
        ('basicsr.data.degradations.add_jpg_compression',),
        'JPEG degradations fail (GFPGAN): OpenCV refuses a quality that is no whole number',
        'the quality is cut to a whole number',
        'OpenCV 4.12 and 5.0 (older ones were not tried), until BasicSR hands over whole numbers',
        'test_compat.py::test_whole_jpeg_qualities',
    ),
    Patch(
        'compat.matrix_roots',
        ('basicsr.metrics.fid.linalg',),
        'FID fails: `scipy.linalg.sqrtm` returns one result, not two',
        'works',
        'SciPy 1.18, as SciPy 1.17 announces it, until BasicSR takes one result',
        'test_compat.py::test_matrix_roots',
    ),
    Patch(
        'compat.betas_as_floats',
        ('basicsr.models.base_model.BaseModel.get_optimizer',),
        'trainings of StyleGAN2 and GFPGAN fail: Adam refuses the integer 0 among its betas',
        'betas become floats',
        'torch 2.14 (older ones were not tried), until BasicSR and projects write 0.0',
        'test_compat.py::test_betas_as_floats',
    ),
    Patch(
        'compat.slurm_without_shell',
        ('basicsr.utils.dist_util._init_dist_slurm',),
        '`--launcher slurm` lets a shell run what is in `SLURM_NODELIST` (CVE-2024-27763)',
        'asks `scontrol` without a shell',
        'everywhere, until BasicSR mends its issue 729',
        'test_compat.py::test_slurm_launcher_without_cuda',
    ),
    Patch(
        'compat.states_on_the_cpu',
        ('basicsr.utils.options.parse_options', 'basicsr.train.load_resume_state'),
        '`--auto_resume` loads states onto a CUDA device, which may be missing and takes no random states',
        'loads them onto the CPU; without CUDA in old copies of BasicSR (NAFNet, Restormer) too',
        'everywhere, until BasicSR loads training states onto the CPU',
        'test_compat.py::test_auto_resume_without_cuda',
    ),
    Patch(
        'compat.distributed_without_cuda',
        (
            'basicsr.utils.dist_util._init_dist_pytorch',
            'basicsr.utils.dist_util._init_dist_slurm',
            'basicsr.models.base_model.BaseModel.model_to_device',
        ),
        '`--launcher pytorch` and `slurm` divide by zero devices',
        'gloo, and DDP on the CPU, for any model class; also after a restart by `torchrun --max-restarts`',
        'machines without CUDA, until BasicSR takes gloo there',
        'test_compat.py::test_torchrun_without_cuda',
    ),
    Patch(
        'compat.cuda_calls_without_cuda',
        ('basicsr.utils.options.parse_options',),
        "Real-ESRGAN's models call `.cuda()` in spite of `num_gpu: 0`",
        'in a process that trains or tests, `.cuda()` leaves tensors and modules on the CPU',
        'machines without CUDA, until BasicSR and projects write `.to(self.device)`',
        'test_compat.py::test_cuda_calls_without_cuda',
    ),
    Patch(
        'compat.prefetch_without_cuda',
        ('basicsr.data.prefetch_dataloader.CUDAPrefetcher',),
        '`prefetch_mode: cuda` asks for a CUDA stream',
        'does as `prefetch_mode: cpu`',
        'machines without CUDA, until BasicSR does so',
        'test_compat.py::test_prefetch_without_cuda',
    ),
    Patch(
        'compat.video_validation_without_cuda',
        ('basicsr.models.video_base_model.torch', 'basicsr.models.video_recurrent_model.torch'),
        'video models validate with a table on a CUDA device',
        'the table is on the CPU',
        'machines without CUDA, until BasicSR makes it on the device of the options',
        'test_compat.py::test_video_validation_without_cuda',
    ),
    Patch(
        'option_checks.check_options',
        ('basicsr.utils.options.parse_options',),
        'a missing dataset, a misspelt name or another mistake in an option file ends in a traceback, or is overlooked',
        'a sentence names it, with the command or the nearest known name that mends it',
        'everywhere, until BasicSR checks option files',
        'test_option_checks.py',
    ),
    Patch(
        'loaders.yield_draws',
        (
            'basicsr.data.data_sampler.EnlargedSampler.__init__',
            'basicsr.data.data_sampler.EnlargedSampler.__iter__',
            'basicsr.data.data_sampler.EnlargedSampler.set_epoch',
        ),
        'crops follow from the number of workers, and a resumed training repeats part of an epoch',
        'they follow from seed, epoch and position alone, with `PairedLmdbDataset` and `AcceleratedSRModel`',
        'everywhere, until BasicSR saves the position in the epoch',
        'test_paired_lmdb_dataset.py::test_draws_do_not_depend_on_workers',
    ),
    Patch(
        'loaders.shield_workers',
        ('basicsr.data.worker_init_fn',),
        'a signal to the group of a training ends its loader workers, and the training with a traceback',
        'workers leave the group; they end with their parent',
        'everywhere, until BasicSR stops on signals',
        'test_training_commands.py::test_signals_save_and_stop',
    ),
    Patch(
        'registries.register_networks',
        ('basicsr.utils.registry.ARCH_REGISTRY.*',),
        'no SrSENet, nor the networks that the paper compares with',
        "there; a project's own class of the same name replaces the plugin's",
        'always',
        'test_registries.py',
    ),
    Patch(
        'registries.register_losses',
        ('basicsr.utils.registry.LOSS_REGISTRY.*',),
        'no `CharbonnierPenaltyLoss` nor `DeepSupervisionLoss`',
        'there',
        'always',
        'test_registries.py',
    ),
    Patch(
        'registries.register_dataset',
        ('basicsr.utils.registry.DATASET_REGISTRY.*',),
        'no `PairedLmdbDataset`',
        'there',
        'always',
        'test_registries.py',
    ),
    Patch(
        'registries.register_model',
        ('basicsr.utils.registry.MODEL_REGISTRY.*',),
        'no `AcceleratedSRModel`',
        'there',
        'always',
        'test_registries.py',
    ),
)


class Report(NamedTuple):
    """How a patch ended here.

    Attributes:
        patch: The patch.
        state: ``active`` if it changed BasicSR, ``not needed``, ``left out`` where this BasicSR lacks the part that it
            changes, as projects' own copies do, or ``failed``.
        reason: Why.
    """

    patch: Patch
    state: Literal['active', 'not needed', 'left out', 'failed']
    reason: str


@cache
def apply() -> tuple[Report, ...]:
    """Applies every patch, once; calling it again only returns the reports of the first call.

    It imports modules of BasicSR, so BasicSR must be imported already, or be on its way through the import hook.
    """
    reports = apply_each(PATCHES)
    failed = [f'{report.patch.name} ({report.reason})' for report in reports if report.state == 'failed']
    if failed:
        warnings.warn(
            f'srsenet_plugin works in part only; these failed: {", ".join(failed)}. Run `srsenet doctor` for details.',
            stacklevel=2,
        )
    return reports


def apply_each(patches: Sequence[Patch]) -> tuple[Report, ...]:
    """Applies patches in their order, whatever becomes of each."""
    return tuple(_report(patch) for patch in patches)


def _report(patch: Patch) -> Report:
    try:
        module, _, name = patch.function.partition('.')
        active, reason = getattr(importlib.import_module(f'srsenet_plugin.toolbox.{module}'), name)()
    except Exception as error:
        missing = _missing_part(error)
        if missing:
            return Report(patch, 'left out', f'this basicsr has no {missing}')
        return Report(patch, 'failed', f'{type(error).__name__}: {error}')
    return Report(patch, 'active' if active else 'not needed', reason)


def _missing_part(error: Exception) -> str | None:
    """The part of BasicSR whose absence an error is about."""
    if isinstance(error, ModuleNotFoundError):
        return error.name if error.name and error.name.partition('.')[0] == 'basicsr' else None
    if isinstance(error, ImportError) and (error.name or '').partition('.')[0] == 'basicsr':
        # In a circle of imports the part is there, only later.
        return None if 'partially initialized' in str(error) else f'{_imported_name(error)} in {error.name}'
    if isinstance(error, AttributeError):
        owner = getattr(error.obj, '__module__', None) or getattr(error.obj, '__name__', '')
        return f'{error.name} in {owner}' if str(owner).partition('.')[0] == 'basicsr' else None
    return None


def _imported_name(error: ImportError) -> str:
    # name_from exists since Python 3.12.
    return getattr(error, 'name_from', None) or str(error).split("'")[1]


def markdown_table() -> str:
    """The patches as the documents show them."""
    rows = [
        f'| `{patch.name}` | {patch.without} | {patch.plugin} | {patch.needed} | `tests/{patch.test}` |'
        for patch in PATCHES
    ]
    header = '| patch | BasicSR without it | with it | needed | test |'
    return '\n'.join([header, '| --- | --- | --- | --- | --- |', *rows])


if __name__ == '__main__':
    print(markdown_table())
