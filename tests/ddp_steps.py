"""Run by test_distributed.py, alone and under torchrun: trains three steps on fixed batches, validates, and saves what
came out.

ddp_steps.py OUT NETWORK [-opt FILE --launcher pytorch]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataloader, build_dataset
from basicsr.models import build_model
from basicsr.utils.options import parse_options

NETWORKS = {
    'SrSENet': {'type': 'SrSENet', 'num_feat': 16, 'num_block': 2, 'upscale': 4},
    'MSRResNet': {'type': 'MSRResNet', 'num_in_ch': 1, 'num_out_ch': 1, 'num_feat': 16, 'num_block': 2, 'upscale': 4},
    'FSRCNN': {'type': 'FSRCNN', 'num_feat': 8, 'num_shrink': 4, 'num_mapping': 1, 'upscale': 4},
}
MODEL_TYPES = {'SrSENet': 'AcceleratedSRModel', 'MSRResNet': 'SRModel', 'FSRCNN': 'AcceleratedSRModel'}
GLOBAL_BATCH = 4


def main() -> None:
    out, network = sys.argv[1:3]
    del sys.argv[1:3]
    opt, _ = parse_options('.', is_train=True)
    opt['network_g'] = NETWORKS[network]
    opt['model_type'] = MODEL_TYPES[network]
    opt['train']['amp'] = 'off'  # the same gradients but for rounding, and no more of it than float32's
    opt['train']['compile'] = network == 'FSRCNN'  # whose replicated edges torch 2.14 compiles without success
    (Path(out) / 'experiment').mkdir(exist_ok=True)
    opt['path']['experiments_root'] = f'{out}/experiment'  # of the training log
    rank, world_size = opt['rank'], opt['world_size']
    torch.manual_seed(rank)  # DDP has to give all ranks the first one's weights
    model = build_model(opt)
    net = model.get_bare_model(model.net_g)
    if network == 'SrSENet':
        with torch.no_grad():  # from zero it lets no gradient through to the body
            torch.nn.init.constant_(net.conv_last.weight, 0.01)
    generator = torch.Generator().manual_seed(0)
    own = slice(rank * GLOBAL_BATCH // world_size, (rank + 1) * GLOBAL_BATCH // world_size)
    gradients = []
    for step in range(1, 4):
        lq = torch.rand(GLOBAL_BATCH, 1, 8, 8, generator=generator)
        gt = torch.rand(GLOBAL_BATCH, 1, 32, 32, generator=generator)
        model.feed_data({'lq': lq[own], 'gt': gt[own]})
        model.optimize_parameters(step)
        gradients.append({name: parameter.grad.clone() for name, parameter in net.named_parameters()})
    figures = {name: validated(model, Path(out, name), name) for name in ('one', 'three')}
    saved = {'weights': net.state_dict(), 'gradients': gradients, 'figures': figures}
    torch.save(saved, f'{out}/{network}_{rank}of{world_size}.pth')


def validated(model: Any, folder: Path, name: str) -> dict[str, float]:
    roots = {'dataroot_gt': str(folder / 'GTmod4'), 'dataroot_lq': str(folder / 'LRbicx4')}
    options = {'name': name, 'type': 'PairedImageDataset', 'phase': 'val', 'scale': 4, 'color': 'y', **roots}
    options['io_backend'] = {'type': 'disk'}
    model.validation(build_dataloader(build_dataset(options), options), 3, None)
    results = getattr(model, 'metric_results', {})  # SRModel validates on the first rank alone
    return {metric: float(value) for metric, value in results.items()}


if __name__ == '__main__':
    main()
