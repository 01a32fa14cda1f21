"""SRModel, faster and safe against interruptions, for any registered architecture."""

from __future__ import annotations

import math
import os.path as osp
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.metrics import calculate_metric
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger, imwrite, tensor2img
from basicsr.utils.registry import MODEL_REGISTRY
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from srsenet_plugin.data.draws import position
from srsenet_plugin.machine.allocator import keep_freed_memory
from srsenet_plugin.machine.compilation import can_compile
from srsenet_plugin.machine.precision import amp_dtype, grad_scaler
from srsenet_plugin.models import checkpoints
from srsenet_plugin.models.random_states import RandomStates
from srsenet_plugin.models.stopping import StopSignals
from srsenet_plugin.models.training_log import TrainingLog
from srsenet_plugin.weights import files

# Images of each validation that TensorBoard shows.
TENSORBOARD_IMAGES = 4


class TrainingStopped(SystemExit):
    """Ends the training without a traceback: the message goes to stderr, or the code to the shell."""


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

    Without any of them, losses and weights equal those of ``SRModel``. A training that is continued with
    ``--auto_resume`` equals one that was never interrupted, if its dataset draws as ``PairedLmdbDataset`` does. On
    the CPU, with glibc, it keeps the memory that its steps free, which is faster.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self._train_opt: Mapping[str, Any] = opt.get('train') or {}
        device_type = 'cuda' if opt['num_gpu'] else 'cpu'
        self._amp_dtype, precision = amp_dtype(self._train_opt.get('amp', 'off'), device_type)
        self._memory_format = torch.preserve_format
        # In float32 oneDNN's own formats are faster on processors.
        if self._train_opt.get('channels_last') and (device_type == 'cuda' or self._amp_dtype):
            self._memory_format = torch.channels_last
        if opt['is_train']:
            get_root_logger().info(f'Precision: {precision}. Memory format: {self._memory_format}.')
        if opt['is_train'] and opt['path'].get('resume_state'):
            _check_that_state_fits(opt)
        super().__init__(opt)

    # Building

    def model_to_device(self, net: nn.Module) -> nn.Module:
        """Moves the network to its device, in its memory format, and wraps it for distributed training."""
        net = self._accelerate(net)
        if self._train_opt.get('compile') and can_compile(self.device):
            net.compile()
        return super().model_to_device(net)

    def _accelerate(self, net: nn.Module) -> nn.Module:
        return net.to(memory_format=self._memory_format)

    def init_training_settings(self) -> None:
        """Sets up losses, optimizer and schedulers as SRModel does, and what acceleration and safety need."""
        if self.device.type == 'cpu':
            keep_freed_memory()
        super().init_training_settings()
        if self.ema_decay > 0:
            self._accelerate(self.net_g_ema)
        self._scaler = grad_scaler(self.device.type, self._amp_dtype)
        self._accumulate = self._train_opt.get('accumulate', 1)
        self._summed = {'l_pix'} if getattr(self.cri_pix, 'reduction', None) == 'sum' else set()
        self._grad_clip = self._train_opt.get('grad_clip', math.inf)
        self._max_bad_steps = self._train_opt.get('max_bad_steps', 10)
        self._bad_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self._iteration = 0
        self._losses: dict[str, Tensor] = {}
        self._saved: dict[str, Any] = {'iter': None}
        self._validated: dict[str, int] = {}
        self._randomness = RandomStates()
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
        self.lq = data['lq'].to(self.device, non_blocking=True, memory_format=self._memory_format)
        if 'gt' in data:
            self.gt = data['gt'].to(self.device, non_blocking=True, memory_format=self._memory_format)
        self._names = data.get('gt_path', data.get('lq_path'))

    def optimize_parameters(self, current_iter: int) -> None:
        """Makes one step of the training."""
        self.optimizer_g.zero_grad()
        with self._randomness.network():
            self._losses = self._backward()
        if self._step() and self.ema_decay > 0:
            self.model_ema(decay=self.ema_decay)
        position.samples += len(self.lq) * self.opt['world_size']
        self._iteration = current_iter
        if self.device.type == 'cpu':  # elsewhere asking waits for the device, so it is left to get_current_log
            self._check_bad_steps()
        if self._log:
            self._log.step()
        self._stop_if_asked()

    def _backward(self) -> dict[str, Tensor]:
        """Computes gradients, and returns the losses, detached."""
        losses: dict[str, Tensor] = {}
        parts = list(zip(self.lq.chunk(self._accumulate), self.gt.chunk(self._accumulate)))
        for i, (lq, gt) in enumerate(parts):
            last = i == len(parts) - 1
            with self._without_synchronization(last):
                with torch.autocast(self.device.type, self._amp_dtype, enabled=self._amp_dtype is not None):
                    self.output = self.net_g(lq)
                part_losses = dict(self._loss_terms(_to_float(self.output), gt))
                if len(parts) > 1:  # means of parts are shares of the mean
                    share = len(lq) / len(self.lq)
                    part_losses = {
                        name: loss if name in self._summed else loss * share for name, loss in part_losses.items()
                    }
                total: Tensor = sum(part_losses.values())  # type: ignore[assignment]
                self._scaler.scale(total).backward()
            for name, loss in part_losses.items():
                losses[name] = losses[name] + loss.detach() if name in losses else loss.detach()
        return losses

    def _without_synchronization(self, last: bool) -> AbstractContextManager[None]:
        if isinstance(self.net_g, DistributedDataParallel) and not last:
            return self.net_g.no_sync()
        return nullcontext()

    def _loss_terms(self, output: Tensor | tuple[Tensor, ...], gt: Tensor) -> Iterator[tuple[str, Tensor]]:
        if self.cri_pix:
            yield 'l_pix', self.cri_pix(output, gt)
        if self.cri_perceptual:
            for name, loss in zip(('l_percep', 'l_style'), self.cri_perceptual(output, gt)):
                if loss is not None:
                    yield name, loss

    def _step(self) -> bool:
        """Updates the weights, unless a gradient is not finite."""
        self._scaler.unscale_(self.optimizer_g)
        gradients = [weight.grad for weight in self.net_g.parameters() if weight.grad is not None]
        if self._grad_clip < math.inf:
            norm = nn.utils.clip_grad_norm_(self.net_g.parameters(), self._grad_clip)
        else:
            norm = torch.stack(torch._foreach_norm(gradients)).sum()
        # fp16 overflows now and then: the scaler leaves that step out, and it is no bad one if the loss is finite.
        # Ranks have losses of their own but the same gradients, by which they all judge alike.
        loss = torch.stack(list(self._losses.values())).sum()
        judged = loss if self._scaler.is_enabled() else norm if self.opt['dist'] else norm + loss
        finite = torch.isfinite(judged)
        self._bad_steps = torch.where(finite, 0, self._bad_steps + 1)
        if self._scaler.is_enabled():
            self._scaler.step(self.optimizer_g)
            self._scaler.update()
            return True
        if self.device.type == 'cuda' and self.optimizer_g.defaults.get('fused'):
            # What the scaler does for fused optimizers: the device leaves the step out, and the host need not know.
            self.optimizer_g.grad_scale, self.optimizer_g.found_inf = None, (~finite).float()
            self.optimizer_g.step()
            return True
        if finite:
            self.optimizer_g.step()
        return bool(finite)

    def _check_bad_steps(self) -> None:
        bad_steps = int(self._bad_steps)
        if not bad_steps:
            return
        message = f'Iteration {self._iteration}: the loss or a gradient is not finite; batch: {", ".join(self._names)}.'
        if bad_steps >= self._max_bad_steps:
            raise TrainingStopped(
                f'{message}\nStopped after {bad_steps} such steps in a row, which were left out. '
                'A smaller lr, grad_clip or amp: off may help.'
            )
        get_root_logger().warning(f'{message} The step is left out.')

    def model_ema(self, decay: float = 0.999) -> None:
        """Moves the averaged weights towards the current ones, all at once."""
        averaged = [weight.data for weight in self.net_g_ema.parameters()]
        weights = [weight.data for weight in self.get_bare_model(self.net_g).parameters()]
        torch._foreach_mul_(averaged, decay)
        torch._foreach_add_(averaged, weights, alpha=1 - decay)

    def get_current_log(self) -> dict[str, float]:
        """The losses of the last step, averaged over the ranks. All ranks have to call it."""
        if self.device.type != 'cpu':
            self._check_bad_steps()
        self.log_dict = self.reduce_loss_dict(self._losses)
        if self._log:
            self._log.add(self._iteration, {'lr': self.get_current_learning_rate()[0], **self.log_dict})
        return self.log_dict

    def _stop_if_asked(self) -> None:
        received = self._stop.stop_after(self._iteration)
        if received:
            if self._iteration % self.opt['logger']['print_freq'] == 0:
                self.get_current_log()
            self.save(position.epoch, self._iteration)
            get_root_logger().info(f'Stopped after iteration {self._iteration}, as asked. --auto_resume goes on.')
            if self._log:
                self._log.close()
            raise TrainingStopped(128 + received)

    # Validation

    def test(self) -> None:
        """Upscales the batch with the averaged weights, where there are some."""
        net = self.net_g_ema if hasattr(self, 'net_g_ema') else self.get_bare_model(self.net_g)
        net.eval()
        with torch.no_grad():
            self.output = net.forward(self.lq)  # uncompiled: images have many sizes
        self.net_g.train()

    def validation(self, dataloader: Any, current_iter: int, tb_logger: Any, save_img: bool = False) -> None:
        """Validates on a dataset, the images shared among the ranks. Figures do not depend on their number."""
        if self.is_train:  # train.py counts beyond the end
            current_iter = min(current_iter, int(self._train_opt['total_iter']))
        name = dataloader.dataset.opt['name']
        metrics = self.opt['val'].get('metrics') or {}
        rank, world_size = self.opt['rank'], self.opt['world_size']
        own: dict[int, dict[str, float]] = {}
        indices = range(rank, len(dataloader.dataset), world_size)
        for index in tqdm(indices, name, unit='image', disable=rank > 0 or not self.opt['val'].get('pbar')):
            data = dataloader.collate_fn([dataloader.dataset[index]])
            img_name = osp.splitext(osp.basename(data['lq_path'][0]))[0]
            self.feed_data(data)
            self.test()
            imgs = {'img': tensor2img([self.output.detach().float().cpu()])}
            if 'gt' in data:
                rounded = self.opt['val'].get('round_gt', True)
                imgs['img2'] = (
                    tensor2img([data['gt']]) if rounded else 255 * tensor2img([data['gt']], out_type=np.float32)
                )
            if save_img:
                imwrite(imgs['img'], self._image_path(name, img_name, current_iter))
            if tb_logger and len(own) < TENSORBOARD_IMAGES:
                channels_first = (
                    torch.from_numpy(imgs['img']).reshape(*imgs['img'].shape[:2], -1).flip(2).permute(2, 0, 1)
                )
                tb_logger.add_image(f'{name}/{img_name}', channels_first, current_iter)
            if self.is_train and world_size == 1:  # with more, the others would wait for this rank's figures
                self._stop_if_asked()
            own[index] = {metric: float(calculate_metric(imgs, options)) for metric, options in metrics.items()}
        for name_of_batch in ('lq', 'gt', 'output'):  # none of which is there if this rank had no image
            self.__dict__.pop(name_of_batch, None)
        if metrics:
            self._initialize_best_metric_results(name)
            results = sorted(item for part in _gather(own, world_size) for item in part.items())
            self.metric_results = {
                metric: sum(values[metric] for _, values in results) / len(results) for metric in metrics
            }
            for metric, value in self.metric_results.items():
                self._update_best_metric_result(name, metric, value, current_iter)
            if rank == 0:
                self._log_validation_metric_values(current_iter, name, tb_logger)
        if self.is_train:
            self._validated[name] = current_iter
            if self._log:
                self._log.add(current_iter, {f'{name}/{metric}': self.metric_results[metric] for metric in metrics})
                self._log.draw()
                if self._saved['iter'] == current_iter:  # train.py saves first
                    self._save_state(self._saved)

    def _image_path(self, dataset_name: str, img_name: str, current_iter: int) -> str:
        """Where SRModel saves a validation image."""
        folder = self.opt['path']['visualization']
        if self.opt['is_train']:
            return osp.join(folder, img_name, f'{img_name}_{current_iter}.png')
        return osp.join(folder, dataset_name, f'{img_name}_{self.opt["val"].get("suffix") or self.opt["name"]}.png')

    # Checkpoints

    def save(self, epoch: int, current_iter: int) -> None:
        """Saves the networks and, unless ``current_iter`` is -1 for the latest, the training state; on all ranks."""
        random_states = _gather(self._randomness.state_dict(), self.opt['world_size'])
        if self.opt['rank'] > 0:
            return
        networks = {'params': self.net_g} | ({'params_ema': self.net_g_ema} if self.ema_decay > 0 else {})
        content: dict[str, Any] = {key: _weights(self.get_bare_model(net)) for key, net in networks.items()}
        content['network_g'] = dict(self.opt['network_g'])  # so that a file tells what it is for
        label = 'latest' if current_iter == -1 else current_iter
        saved = self._try_to_save(content, Path(self.opt['path']['models'], f'net_g_{label}.pth'))
        if current_iter == -1 or not saved:
            return
        self._save_state(
            {
                'epoch': epoch,
                'iter': current_iter,
                'optimizers': [optimizer.state_dict() for optimizer in self.optimizers],
                'schedulers': [scheduler.state_dict() for scheduler in self.schedulers],
                'samples': position.samples,
                'scaler': self._scaler.state_dict(),
                'bad_steps': int(self._bad_steps),
                'random_states': random_states,
                'made_with': _identity(self.opt),
            }
        )

    def _save_state(self, state: dict[str, Any]) -> None:
        self._saved = state
        figures = {'best_metric_results': getattr(self, 'best_metric_results', {}), 'validated': self._validated}
        path = Path(self.opt['path']['training_states'], f'{state["iter"]}.state')
        keep = self.opt['logger'].get('keep_checkpoints')
        if self._try_to_save(state | figures, path) and keep:
            checkpoints.prune(Path(self.opt['path']['experiments_root']), keep)

    def _try_to_save(self, content: Mapping[str, Any], path: Path) -> bool:
        try:
            files.save(content, path)
        except (OSError, RuntimeError) as error:  # the disk is full, for instance, which must not end the training
            get_root_logger().warning(f'{path} could not be saved ({error}). Training goes on; older checkpoints stay.')
            return False
        return True

    def resume_training(self, resume_state: Mapping[str, Any]) -> None:
        """Restores everything but the weights, which BasicSR has loaded as those of a pretrained network.

        The option file decides on the learning rate and its schedule, of whatever type, and on the optimizer's other
        numbers: they are as if the training had had them from its first iteration. So it can be continued with a longer
        schedule, or with another one.
        """
        for iteration in range(1, resume_state['iter'] + 1):
            self.update_learning_rate(iteration, self._train_opt.get('warmup_iter', -1))
        of_options = [[_without_weights(group) for group in each.param_groups] for each in self.optimizers]
        schedulers = [scheduler.state_dict() for scheduler in self.schedulers]
        super().resume_training({**resume_state, 'schedulers': schedulers})
        for optimizer, groups in zip(self.optimizers, of_options):
            for group, options in zip(optimizer.param_groups, groups):
                group.update(options)
        if 'samples' not in resume_state:
            get_root_logger().warning('The state is one of SRModel: the epoch begins anew.')
            return
        position.resume(resume_state['epoch'], resume_state['samples'])
        self._scaler.load_state_dict(resume_state['scaler'])
        self._bad_steps.fill_(resume_state['bad_steps'])
        if resume_state['best_metric_results']:
            self.best_metric_results = resume_state['best_metric_results']
        if len(resume_state['random_states']) == self.opt['world_size']:
            self._randomness.load_state_dict(resume_state['random_states'][self.opt['rank']])
        self._validated = resume_state['validated']
        self._saved = dict(resume_state)
        self._iteration = iteration = resume_state['iter']
        val_opt = self.opt.get('val')
        due = [
            dataset
            for phase, dataset in self.opt['datasets'].items()
            if phase.startswith('val')
            and val_opt
            and iteration % val_opt['val_freq'] == 0
            and self._validated.get(dataset['name']) != iteration
        ]
        if self._log:
            self._log.resume(iteration, without=[dataset['name'] for dataset in due])
        for dataset in due:  # train.py does not come back to the validation of an iteration that it has saved
            loader = build_dataloader(build_dataset(dataset), dataset)
            self.validation(loader, iteration, None, val_opt['save_img'])

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


def _to_float(output: Tensor | Sequence[Tensor]) -> Tensor | tuple[Tensor, ...]:
    """Some networks return several images in training mode."""
    return output.float() if isinstance(output, Tensor) else tuple(img.float() for img in output)


def _without_weights(group: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of an optimizer's group of weights."""
    return {name: value for name, value in group.items() if name != 'params'}


def _weights(net: nn.Module) -> OrderedDict[str, Tensor]:
    return OrderedDict((name, weight.detach().cpu().contiguous()) for name, weight in net.state_dict().items())


def _gather(value: Any, world_size: int) -> list[Any]:
    """The values of all ranks, on all ranks."""
    if world_size == 1:
        return [value]
    values = [None] * world_size
    distributed.all_gather_object(values, value)
    return values


def _identity(opt: Mapping[str, Any]) -> dict[str, Any]:
    """What a state has to have in common with an option file."""
    return {'scale': opt.get('scale'), 'network_g': dict(opt['network_g'])}


def _check_that_state_fits(opt: Mapping[str, Any]) -> None:
    path = opt['path']['resume_state']
    made_with = files.load(path).get('made_with')
    if made_with is not None and made_with != _identity(opt):
        raise TrainingStopped(
            f'{path} does not fit the option file.\n  state: {made_with}\n  options: {_identity(opt)}'
        )
