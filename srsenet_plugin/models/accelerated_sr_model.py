"""SRModel, faster and safe against interruptions, for any registered architecture.

The class is the composition that BasicSR sees. Each of its parts is in a file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, nn

from srsenet_plugin.data.draws import Position
from srsenet_plugin.machine.allocator import keep_freed_memory
from srsenet_plugin.machine.compilation import can_compile, first_line
from srsenet_plugin.machine.precision import amp_dtype
from srsenet_plugin.models import base_model, checkpoints, resuming
from srsenet_plugin.models.random_states import RandomStates
from srsenet_plugin.models.steps import Output, Steps, move_average
from srsenet_plugin.models.stopping import StopSignals, TrainingStopped
from srsenet_plugin.models.training_log import TrainingLog
from srsenet_plugin.models.validation import gather, plain, validate
from srsenet_plugin.models.windows import to_whole_windows, window_size
from srsenet_plugin.weights import files


@MODEL_REGISTRY.register()
class AcceleratedSRModel(SRModel):
    """BasicSR's ``SRModel`` with the same options, checkpoints, logs and validation, and these options besides.

    ``train:`` of the option file takes

    - ``amp`` (str): ``bf16`` or ``fp16`` for mixed precision with the loss in float32; ``off``. bf16 is used where the
      device computes with it, and stays off elsewhere. Default: off.
    - ``channels_last`` (bool): Memory format of weights and images, on CUDA and in bf16. Default: False.
    - ``compile`` (bool): ``torch.compile`` the network, where that works. Default: False.
    - ``accumulate`` (int): Parts that a batch goes through the network in, for less memory. Default: 1.
    - ``grad_clip`` (float): Largest norm of all gradients together. Default: none.
    - ``max_bad_steps`` (int): Steps in a row whose loss or gradients are not finite, after which the training stops.
      Such steps are left out. Default: 10.

    ``val:`` takes ``round_gt`` (bool): round Y of GT images to 8 bits, as SRModel does, or take it as it is, as most of
    the literature does. It makes up to 0.04 dB at x2. Default: True. ``logger:`` takes ``keep_checkpoints`` (int), how
    many to keep of those saved at intervals. Default: all.

    Beside ``model_type``, ``base_model`` (str) names a subclass of ``SRModel`` that a project has registered, such as
    ``HATModel``. It is accelerated, and keeps its additions to ``SRModel``, such as its validation. Default: SRModel.

    Without any of them, losses and weights equal those of ``SRModel``. Networks with a ``window_size``, such as
    SwinIR, validate on images mirrored up to whole windows, as with ``SwinIRModel``. A training that is continued with
    ``--auto_resume`` equals one that was never interrupted, if its dataset draws as ``PairedLmdbDataset`` does. On the
    CPU, with glibc, it keeps the memory that its steps free, which is faster.
    """

    net_g: nn.Module
    lq: Tensor
    gt: Tensor
    output: Any
    _base: type[SRModel] = SRModel

    def __new__(cls, opt: dict[str, Any]) -> AcceleratedSRModel:
        name = opt.get('base_model')
        return super().__new__(base_model.on_top_of(cls, name) if name else cls)

    def __init__(self, opt: dict[str, Any]) -> None:
        self._train_opt: Mapping[str, Any] = opt.get('train') or {}
        device_type = 'cuda' if opt['num_gpu'] else 'cpu'
        self._amp_dtype, precision = amp_dtype(self._train_opt.get('amp') or 'off', device_type)
        self._memory_format = torch.preserve_format
        # In float32 oneDNN's own formats are faster on processors.
        if self._train_opt.get('channels_last') and (device_type == 'cuda' or self._amp_dtype):
            self._memory_format = torch.channels_last
        self._is_compiled = self._compilation_is_proven = False
        if opt['is_train']:
            get_root_logger().info(f'Precision: {precision}. Memory format: {self._memory_format}.')
            if opt['path'].get('resume_state'):
                checkpoints.check_that_state_fits(opt)
        super().__init__(opt)

    # Building

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves the network to its device, in its memory format, and wraps it for distributed training."""
        net = self._accelerate(net)
        if self._train_opt.get('compile'):
            self._compile(net)
        return super().model_to_device(net)

    def _compile(self, net: nn.Module) -> None:
        if self.opt['num_gpu'] > 1 and not self.opt['dist']:
            # DataParallel's copies would all call the compiled original, whose weights are on the first device.
            get_root_logger().warning(
                f'train: compile is left out, for this process trains on {self.opt["num_gpu"]} devices. With torchrun, '
                'each has a process of its own, which compiles.'
            )
        elif can_compile(self.device):
            net.compile()
            self._is_compiled = True

    def _leave_compilation_out(self, error: Exception) -> None:
        get_root_logger().warning(
            'train: compile is left out, for the first compiled step failed: '
            f'{type(error).__name__}: {first_line(error)}'
        )
        net = self.get_bare_model(self.net_g)
        net._compiled_call_impl = None  # nothing public undoes Module.compile
        self._is_compiled = False
        self.net_g = super().model_to_device(net)  # DistributedDataParallel takes no step after one that failed

    def _accelerate(self, net: nn.Module) -> nn.Module:
        return net.to(memory_format=self._memory_format)

    def init_training_settings(self) -> None:
        """Sets up losses, optimizer and schedulers as SRModel does, and the parts for speed and safety."""
        if self.device.type == 'cpu':
            keep_freed_memory()
        super().init_training_settings()
        if self.ema_decay > 0:
            self._accelerate(self.net_g_ema)
        self._steps = Steps(self.optimizer_g, self._train_opt, self.device, self._amp_dtype, self.opt['dist'])
        self._sums = {'l_pix'} if getattr(self.cri_pix, 'reduction', None) == 'sum' else set()
        self._iteration = 0
        self._losses: dict[str, Tensor] = {}
        self._position = Position.latest
        self._randomness = RandomStates()
        self._checkpoints = checkpoints.Checkpoints(self.opt)
        self._saved: dict[str, Any] = {'iter': None}
        self._validated: dict[str, int] = {}
        self._stop = StopSignals(self.device.type)
        self._log: TrainingLog | None = None
        if self.opt['rank'] == 0:
            self._log = TrainingLog(Path(self.opt['path']['experiments_root']), int(self._train_opt['total_iter']))

    def get_optimizer(self, optim_type: str, params: Any, lr: float, **kwargs: Any) -> torch.optim.Optimizer:
        """The optimizer of the options; without ``fused`` where this torch has none for the device."""
        try:
            return super().get_optimizer(optim_type, params, lr, **kwargs)
        except RuntimeError as error:
            if not kwargs.pop('fused', False):
                raise
            get_root_logger().info(f'optim_g: fused is left out: {error}')
            return super().get_optimizer(optim_type, params, lr, **kwargs)

    # Training

    def feed_data(self, data: Mapping[str, Any]) -> None:
        """Takes a batch: 'lq', and 'gt' if there is one, shapes (N, C, H, W)."""
        self._names = data.get('gt_path', data.get('lq_path')) or ()
        images = {}
        for name in ('lq', 'gt'):
            if name in data:
                if data[name].is_cuda:  # prefetch_mode: cuda loads on a stream of its own, which must not reuse memory
                    data[name].record_stream(torch.cuda.current_stream())  # before the steps on this one are done
                images[name] = data[name].to(self.device, non_blocking=True, memory_format=self._memory_format)
        super().feed_data({**data, **images})

    def optimize_parameters(self, current_iter: int) -> None:
        """Makes one step of the training."""
        try:
            self._backward()
        except Exception as error:  # of torch's compiler, which has no kernels for some networks, or of its kernels
            if not self._is_compiled or self._compilation_is_proven:
                raise
            self._leave_compilation_out(error)
            self._backward()
        self._compilation_is_proven = True
        if self._steps.update(self.net_g, self._losses) and self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        self._position.samples += len(self.lq) * self.opt['world_size']
        self._iteration = current_iter
        if self.device.type == 'cpu':  # elsewhere asking waits for the device, so it is left to get_current_log
            self._steps.check(self._iteration, self._names)
        if self._log:
            self._log.step()
        self._stop_if_asked()

    def _backward(self) -> None:
        self.optimizer_g.zero_grad()
        with self._randomness.network():
            self.output, self._losses = self._steps.backward(self.net_g, self.lq, self.gt, self._criterion, self._sums)

    def _criterion(self, output: Output, gt: Tensor) -> dict[str, Tensor]:
        losses: dict[str, Tensor | None] = {}
        if self.cri_pix:
            losses['l_pix'] = self.cri_pix(output, gt)
        if self.cri_perceptual:
            losses['l_percep'], losses['l_style'] = self.cri_perceptual(output, gt)
        return {name: loss for name, loss in losses.items() if loss is not None}

    def model_ema(self, decay: float = 0.999) -> None:
        """Moves the averaged weights towards the current ones."""
        move_average(self.net_g_ema, self.get_bare_model(self.net_g), decay)

    def get_current_log(self) -> dict[str, float]:
        """The losses of the last step, averaged over the ranks. All ranks have to call it."""
        if self.device.type != 'cpu':
            self._steps.check(self._iteration, self._names)
        self.log_dict = self.reduce_loss_dict(self._losses)
        if self._log:
            self._log.add(self._iteration, {'lr': self.get_current_learning_rate()[0], **self.log_dict})
        return self.log_dict

    def _stop_if_asked(self) -> None:
        received = self._stop.stop_after(self._iteration)
        if received:
            if self._iteration % self.opt['logger']['print_freq'] == 0:
                self.get_current_log()
            self.save(self._position.epoch, self._iteration)
            get_root_logger().info(f'Stopped after iteration {self._iteration}, as asked. --auto_resume goes on.')
            if self._log:
                self._log.close()
            raise TrainingStopped(128 + received)

    # Validation

    def test(self) -> None:
        """Upscales the batch with the averaged weights, where there are some."""
        with self._plain_network() as net:
            if base_model.tests_in_its_own_way(self._base):
                super().test()
                return
            lq = self.lq
            self.lq = to_whole_windows(lq, window_size(self.opt['network_g'], net))
            super().test()
            scale = self.output.shape[-1] // self.lq.shape[-1]
            self.lq = lq
            self.output = self.output[..., : lq.shape[-2] * scale, : lq.shape[-1] * scale]

    @contextmanager
    def _plain_network(self) -> Iterator[nn.Module]:
        """Within it, ``net_g`` neither compiles, for images have many sizes, nor waits for other ranks."""
        trained, plain = self.net_g, self.get_bare_model(self.net_g)
        self.net_g = _Uncompiled(plain) if self._is_compiled else plain
        try:
            yield plain
        finally:
            self.net_g = trained
            trained.train(self.opt['is_train'])

    def validation(self, dataloader: Any, current_iter: Any, tb_logger: Any, save_img: bool = False) -> None:
        """Validates on a dataset, the images shared among the ranks. Figures do not depend on their number.

        A ``base_model`` with a validation of its own does that instead, on the first rank alone.
        """
        name = dataloader.dataset.opt['name']
        if self.opt['is_train']:  # train.py counts beyond the end
            current_iter = min(current_iter, int(self._train_opt['total_iter']))
        self.metric_results: dict[str, float] = dict.fromkeys(self.opt['val'].get('metrics') or {}, 0)
        if base_model.validates_in_its_own_way(self._base):
            with self._plain_network():
                super().validation(dataloader, current_iter, tb_logger, save_img)
        else:
            self.metric_results = validate(self, dataloader, current_iter, tb_logger, save_img, self._between_images)
            self._compare_with_best(name, current_iter, tb_logger)
        if self.opt['is_train']:
            self._validated[name] = current_iter
            if self._log:
                self._log.add(current_iter, {f'{name}/{key}': value for key, value in self.metric_results.items()})
                self._log.draw()
                if self._saved['iter'] == current_iter:  # train.py saves first
                    self._save_state(self._saved)

    def _compare_with_best(self, name: str, current_iter: Any, tb_logger: Any) -> None:
        if not self.metric_results:
            return
        known = getattr(self, 'best_metric_results', {}).pop(name, {})  # before a resumed training had other metrics
        self._initialize_best_metric_results(name)
        self.best_metric_results[name].update({key: best for key, best in known.items() if key in self.metric_results})
        for metric, value in self.metric_results.items():
            self._update_best_metric_result(name, metric, value, current_iter)
        if self.opt['rank'] == 0:
            self._log_validation_metric_values(current_iter, name, tb_logger)

    def _between_images(self) -> None:
        if (
            self.opt['is_train'] and self.opt['world_size'] == 1
        ):  # with more, the others would wait for this rank's figures
            self._stop_if_asked()

    # Checkpoints

    def save(self, epoch: int, current_iter: int) -> None:
        """Saves the networks and, unless ``current_iter`` is -1 for the latest, the training state; on all ranks."""
        random_states = gather(self._randomness.state_dict(), self.opt['world_size'])
        if self.opt['rank'] > 0:
            return
        networks = {'params': self.get_bare_model(self.net_g)}
        if self.ema_decay > 0:
            networks['params_ema'] = self.net_g_ema
        if not self._checkpoints.save_network(networks, current_iter) or current_iter == -1:
            return
        self._save_state(
            {
                'epoch': epoch,
                'iter': current_iter,
                'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
                'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
                'samples': self._position.samples,
                'random_states': random_states,
                'made_with': checkpoints.identity(self.opt),
                **self._steps.state_dict(),
            }
        )

    def _save_state(self, state: dict[str, Any]) -> None:
        self._saved = state
        best = plain(getattr(self, 'best_metric_results', {}))
        self._checkpoints.save_state({**state, 'best_metric_results': best, 'validated': self._validated})

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Restores everything but the weights, which BasicSR has loaded as those of a pretrained network.

        The option file decides on the learning rate and its schedule, of whatever type, and on the optimizer's other
        numbers: they are as if the training had had them from its first iteration. So it can be continued with a longer
        schedule, or with another one.
        """
        resuming.restore_optimizers(self, resume_state, super().resume_training)
        if 'samples' not in resume_state:
            get_root_logger().warning('The state is one of SRModel: the epoch begins anew.')
            return
        self._position.resume(resume_state['epoch'], resume_state['samples'])
        self._steps.load_state_dict(resume_state)
        if resume_state['best_metric_results']:
            self.best_metric_results = resume_state['best_metric_results']
        if len(resume_state['random_states']) == self.opt['world_size']:
            self._randomness.load_state_dict(resume_state['random_states'][self.opt['rank']])
        self._validated = resume_state['validated']
        self._saved = dict(resume_state)
        self._iteration = iteration = resume_state['iter']
        due = resuming.validations_due(self.opt, iteration, self._validated)
        if self._log:
            self._log.resume(iteration, without=[dataset['name'] for dataset in due])
        for dataset in due:
            loader = build_dataloader(build_dataset(dataset), dataset)
            self.validation(loader, iteration, None, self.opt['val']['save_img'])

    def load_network(
        self, net: nn.Module, load_path: str, strict: bool = True, param_key: str | None = 'params'
    ) -> None:
        """Loads weights from a ``.pth`` or ``.safetensors`` file, without running code that is in it.

        Raises:
            TrainingStopped: The file is damaged, or does not fit the network.
        """
        bare = self.get_bare_model(net)
        try:
            weights = dict(files.network_weights(load_path, param_key))
            self._print_different_keys_loading(bare, weights, strict)
            bare.load_state_dict(weights, strict=strict)
        except (ValueError, RuntimeError) as error:
            made_of = {name: value for name, value in self.opt['network_g'].items() if value is not None}
            raise TrainingStopped(f'{load_path} does not fit network_g {made_of}:\n{error}') from None
        get_root_logger().info(f'Loading {type(bare).__name__} model from {load_path}, with param key: [{param_key}].')


class _Uncompiled(nn.Module):
    """A network that was compiled in place, called as if it had not been."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.net.forward(*args, **kwargs)
