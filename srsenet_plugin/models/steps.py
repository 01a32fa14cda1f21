"""Steps of a training: from a batch to weights that have moved.

Precision, the parts of a batch, the norm of the gradients, and steps that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from srsenet_plugin.machine.precision import grad_scaler
from srsenet_plugin.models.stopping import TrainingStopped

Output = Tensor | Sequence[Tensor]


class Steps:
    """Makes the steps of a training.

    Args:
        optimizer: Of the network's weights.
        options: ``train:`` of the option file.
        device: Where the network is.
        amp_dtype: Of mixed precision, or None.
        distributed: Whether other ranks train the same network.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        options: Mapping[str, Any],
        device: torch.device,
        amp_dtype: torch.dtype | None,
        distributed: bool,
    ) -> None:
        self._device = device
        self._amp_dtype = amp_dtype
        self._parts: int = options.get('accumulate') or 1
        self._grad_clip: float = options.get('grad_clip') or math.inf
        self._scaler = grad_scaler(device.type, amp_dtype)
        self._bad_steps = BadSteps(device, options.get('max_bad_steps') or 10)
        if self._scaler.is_enabled():
            self._update: Update = ScaledUpdate(optimizer, distributed, self._scaler)
        elif device.type == 'cuda' and optimizer.defaults.get('fused'):
            self._update = UpdateOnDevice(optimizer, distributed)
        else:
            self._update = Update(optimizer, distributed)

    def backward(
        self,
        net: nn.Module,
        lq: Tensor,
        gt: Tensor,
        criterion: Callable[[Output, Tensor], Mapping[str, Tensor]],
        sums: Iterable[str],
    ) -> tuple[Output, dict[str, Tensor]]:
        """Computes gradients.

        Args:
            net: The network.
            lq: Shape (N, C, h, w). Its input.
            gt: Shape (N, C, H, W). The images that its output should equal.
            criterion: Computes the losses, by name, of an output in float32.
            sums: Names of losses that are sums over the batch, not means.

        Returns:
            The output of the last part of the batch, and the losses of the whole batch, detached.
        """
        losses: dict[str, Tensor] = {}
        parts = list(zip(lq.chunk(self._parts), gt.chunk(self._parts)))
        for i, (lq_part, gt_part) in enumerate(parts):
            with _without_synchronization(net, last=i == len(parts) - 1):
                with torch.autocast(self._device.type, self._amp_dtype, enabled=self._amp_dtype is not None):
                    output = net(lq_part)
                part_losses = dict(criterion(_to_float(output), gt_part))
                if len(parts) > 1:  # means of parts are shares of the mean
                    share = len(lq_part) / len(lq)
                    part_losses = {name: loss if name in sums else loss * share for name, loss in part_losses.items()}
                total: Tensor = sum(part_losses.values())  # type: ignore[assignment]
                self._scaler.scale(total).backward()
            for name, loss in part_losses.items():
                losses[name] = losses[name] + loss.detach() if name in losses else loss.detach()
        return output, losses

    def update(self, net: nn.Module, losses: Mapping[str, Tensor]) -> bool:
        """Moves the weights by their gradients, unless the step is not finite.

        Args:
            net: The network.
            losses: From :meth:`backward`.

        Returns:
            Whether the averaged weights may follow: False if the step is known to be left out.
        """
        self._scaler.unscale_(self._update.optimizer)
        norm = nn.utils.clip_grad_norm_(net.parameters(), self._grad_clip)  # times 1 if there is no limit
        finite = self._update.is_finite(torch.stack(list(losses.values())).sum(), norm)
        self._bad_steps.count(finite)
        return self._update(finite)

    def check(self, iteration: int, names: Iterable[str]) -> None:
        """Warns of a step that was left out. It waits for the device.

        Raises:
            TrainingStopped: There have been too many in a row.
        """
        self._bad_steps.check(iteration, names)

    def state_dict(self) -> dict[str, Any]:
        """The state as plain values."""
        return {'scaler': self._scaler.state_dict(), 'bad_steps': self._bad_steps.in_a_row}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` returned."""
        if state['scaler']:  # a training without fp16 has none, which a scaler refuses
            self._scaler.load_state_dict(state['scaler'])
        self._bad_steps.in_a_row = state['bad_steps']


class Update:
    """Lets the optimizer step if the step is finite; this process looks at it and decides.

    Args:
        optimizer: Of the network's weights.
        distributed: Whether other ranks train the same network.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, distributed: bool) -> None:
        self.optimizer = optimizer
        self._distributed = distributed

    def is_finite(self, loss: Tensor, norm: Tensor) -> Tensor:
        """Judges a step by its loss and the norm of its gradients.

        Ranks have losses of their own but the same gradients, by which they all judge alike.
        """
        return torch.isfinite(norm if self._distributed else norm + loss)

    def __call__(self, finite: Tensor) -> bool:
        if finite:
            self.optimizer.step()
        return bool(finite)


class UpdateOnDevice(Update):
    """The same for a fused optimizer on CUDA: the device leaves the step out, and the host need not wait to know."""

    def __call__(self, finite: Tensor) -> bool:
        # GradScaler hands them to fused optimizers in this way. No public one takes an answer that is on the device.
        self.optimizer.grad_scale, self.optimizer.found_inf = None, (~finite).float()  # type: ignore[attr-defined]
        self.optimizer.step()
        return True


class ScaledUpdate(Update):
    """fp16, whose gradients overflow now and then: the scaler leaves such a step out.

    It is no bad step if the loss is finite.

    Args:
        optimizer: Of the network's weights.
        distributed: Whether other ranks train the same network.
        scaler: Has scaled the loss, and unscaled the gradients.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, distributed: bool, scaler: torch.amp.GradScaler) -> None:
        super().__init__(optimizer, distributed)
        self._scaler = scaler

    def is_finite(self, loss: Tensor, norm: Tensor) -> Tensor:
        return torch.isfinite(loss)

    def __call__(self, finite: Tensor) -> bool:
        self._scaler.step(self.optimizer)
        self._scaler.update()
        return True


class BadSteps:
    """Counts steps in a row that are not finite, on the device.

    Args:
        device: Where the steps are made.
        limit: How many end the training.
    """

    def __init__(self, device: torch.device, limit: int) -> None:
        self._count = torch.zeros((), dtype=torch.int64, device=device)
        self._limit = limit

    @property
    def in_a_row(self) -> int:
        """How many there have been since the last finite step. It waits for the device."""
        return int(self._count)

    @in_a_row.setter
    def in_a_row(self, count: int) -> None:
        self._count.fill_(count)

    def count(self, finite: Tensor) -> None:
        """Counts a step. It does not wait for the device."""
        self._count = torch.where(finite, 0, self._count + 1)

    def check(self, iteration: int, names: Iterable[str]) -> None:
        """Warns, or raises TrainingStopped, if the last step was not finite."""
        count = self.in_a_row
        if not count:
            return
        message = f'Iteration {iteration}: the loss or a gradient is not finite; batch: {", ".join(names)}.'
        if count >= self._limit:
            raise TrainingStopped(
                f'{message}\nStopped after {count} such steps in a row, which were left out. '
                'A smaller lr, grad_clip or amp: off may help.'
            )
        get_root_logger().warning(f'{message} The step is left out.')


def move_average(averaged: nn.Module, net: nn.Module, decay: float) -> None:
    """Moves averaged weights towards a network's: decay x average + (1 - decay) x weight.

    It rounds as SRModel does, but takes all weights at once, for which torch has no public function:
    ``get_ema_multi_avg_fn`` interpolates, which rounds differently.
    """
    averages = [weight.data for weight in averaged.parameters()]
    torch._foreach_mul_(averages, decay)
    torch._foreach_add_(averages, [weight.data for weight in net.parameters()], alpha=1 - decay)


def _without_synchronization(net: nn.Module, last: bool) -> AbstractContextManager[None]:
    """Ranks add up their gradients once, with the last part of a batch."""
    return net.no_sync() if isinstance(net, DistributedDataParallel) and not last else nullcontext()


def _to_float(output: Output) -> Output:
    """Some networks return several images in training mode."""
    return output.float() if isinstance(output, Tensor) else tuple(img.float() for img in output)
