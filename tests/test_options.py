from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

import pytest
import release_weights
import torch
import yaml
from basicsr.models import build_model
from basicsr.utils import options
from conftest import ROOT

from srsenet_plugin import SrSENet, cli
from srsenet_plugin.archs.vdsr_arch import VDSR
from srsenet_plugin.weights import files, pretrained

RELEASED = 'options/released'
STAGES = ROOT / RELEASED / 'stages.yml'
OPTION_FILES = sorted(path.relative_to(ROOT) for path in (ROOT / 'options').rglob('*.yml') if path != STAGES)
SCALES = (2, 3, 4, 8)
COMPARED = [path for path in OPTION_FILES if path.parent.name in ('table1', 'compare') and path.stem.endswith('_x4')]


def read(path: Path | str) -> dict[str, Any]:
    return yaml.load((ROOT / path).read_text(), Loader=options.ordered_yaml()[0])


def result_folders(root: Path) -> dict[str, str]:
    """As BasicSR adds them to the options."""
    names = {'experiments_root': '', 'models': 'models', 'training_states': 'training_states'}
    return {key: str(root / name) for key, name in names.items()}


@pytest.mark.parametrize('path', OPTION_FILES, ids=str)
def test_builds_network_loss_optimizer_and_scheduler(path: Path, tmp_path: Path) -> None:
    opt = read(path)
    is_train = not path.name.startswith('test')
    assert opt['name'] == path.stem
    opt.update(is_train=is_train, dist=False, rank=0, world_size=1, num_gpu=0)
    opt['path'] |= {'pretrain_network_g': None, **result_folders(tmp_path)}
    model = build_model(opt)
    assert type(model).__name__ == 'AcceleratedSRModel'
    assert type(model.net_g).__name__ == path.stem.split('_')[1]
    assert opt['network_g']['upscale'] == opt['scale']
    assert all(metric['crop_border'] == opt['scale'] for metric in opt['val']['metrics'].values())
    assert {metric['type'] for metric in opt['val']['metrics'].values()} == {'calculate_psnr', 'calculate_ssim'}
    if is_train:
        loss = opt['train']['pixel_opt']
        assert type(model.cri_pix).__name__ == loss['type']
        assert loss.get('loss', loss)['type'] == 'CharbonnierPenaltyLoss'
        assert type(model.optimizer_g) is torch.optim.Adam
        model.update_learning_rate(2)
        assert len(model.schedulers) == 1


@pytest.mark.parametrize(
    ('released', 'start'),
    [
        ('srsenet_x2', 'srsenet_x4'),
        ('srsenet_x3', 'srsenet_x4'),
        ('srsenet_x4', None),
        ('srsenet_x8', 'srsenet_x4'),
        ('srsenet_x2_jpeg', 'srsenet_x2'),
        ('srsenet_x4_jpeg', 'srsenet_x4'),
        ('fsrcnn_x8', None),
        ('srcnn_x8', 'experiments/train_SRCNN_x8_T91BSD200_start.pth'),
        ('vdsr_x8', 'experiments/train_VDSR_x8_T91BSD200_start.pth'),
        ('drcn_x2', 'experiments/train_DRCN_x2_T91BSD200_start.pth'),
        ('drcn_x4', 'experiments/train_DRCN_x4_T91BSD200_start.pth'),
    ],
)
def test_released_weights_have_commands_that_train_them(
    released: str, start: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as BasicSR reads it, from the file and --force_yml."""
    commands = release_weights.training_commands(yaml.safe_load(STAGES.read_text())[released])
    scale, made = int(released.partition('_x')[2][0]), {start}
    for name, (_, _, *arguments) in commands.items():
        monkeypatch.setattr('sys.argv', ['train.py', *arguments])
        monkeypatch.chdir(ROOT)
        opt, _ = options.parse_options.__wrapped__(str(tmp_path))
        assert (opt['name'], opt['scale']) == (name, scale)
        assert opt['path']['pretrain_network_g'] in made
        assert bool(opt['datasets']['train'].get('jpeg')) == released.endswith('_jpeg')
        made.add(f'experiments/{name}/models/net_g_latest.pth')
        opt |= {'num_gpu': 0, 'path': opt['path'] | {'pretrain_network_g': None, **result_folders(tmp_path)}}
        model = build_model(opt)
        finetunes = name.startswith('finetune')
        loss = opt['train']['pixel_opt']
        assert loss.get('loss', loss)['type'] == ('MSELoss' if finetunes else 'CharbonnierPenaltyLoss')
        assert sum(opt['train']['scheduler']['periods']) == opt['train']['total_iter']
        for iteration in (1, opt['train']['total_iter']):
            model.update_learning_rate(iteration, opt['train']['warmup_iter'])


def test_starts_are_those_of_trainings() -> None:
    """What each command takes is what one before it makes, and the last makes what the training starts from."""
    for name, commands in yaml.safe_load(STAGES.read_text())['starts'].items():
        made = set()
        for _, script, *arguments in map(shlex.split, commands):
            path = Path(next(word for word in arguments if word.endswith('.yml')))
            start = read(path)['path']['pretrain_network_g']
            if script == 'basicsr/train.py':
                assert start in made
                made.add(f'experiments/{path.stem}/models/net_g_latest.pth')
            else:
                assert {word for word in arguments if word.endswith('.pth')} <= made
                made.add(start)
        assert start == read(f'options/table1/{name}.yml')['path']['pretrain_network_g']


def test_stored_precision() -> None:
    """Filters that see an enlarged image stay in float32, and all else is halved."""
    weights = VDSR(num_layer=3).state_dict()
    stored = release_weights.as_stored(weights, {'type': 'VDSR', 'num_layer': 3})
    full = {'conv_first.weight', 'conv_first.bias'}
    assert {key for key, weight in stored.items() if weight.dtype == torch.float32} == full
    assert {weight.dtype for key, weight in stored.items() if key not in full} == {torch.half}


@pytest.mark.parametrize(('weights_name', 'share'), [('srsenet_x3', 1), ('srsenet_x4_jpeg', 0.7)])
def test_release_of_a_single_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], weights_name: str, share: float
) -> None:
    """Its averaged weights, or their share beside those that it started from, in half precision."""
    name, net = f'train_SrSENet_{weights_name.removeprefix("srsenet_")}_T91BSD400', SrSENet(num_feat=16, num_block=1)
    (tmp_path / 'experiments' / name / 'models').mkdir(parents=True)
    (tmp_path / 'docs/training').mkdir(parents=True)
    (tmp_path / RELEASED / 'stages.yml').parent.mkdir(parents=True)
    (tmp_path / RELEASED / 'stages.yml').write_text(STAGES.read_text())
    (tmp_path / RELEASED / f'{name}.yml').write_text((ROOT / RELEASED / f'{name}.yml').read_text())
    start = {key: torch.rand_like(weight) for key, weight in net.state_dict().items()}
    torch.save({'params': start}, tmp_path / 'srsenet_x4.pth')
    (tmp_path / pretrained.CHECKSUMS).write_text(pretrained.checksum_line(tmp_path / 'srsenet_x4.pth'))
    params = {key: torch.rand_like(weight) for key, weight in net.state_dict().items()}
    content = {'params': net.state_dict(), 'params_ema': params, 'network_g': {'type': 'SrSENet'}}
    torch.save(content, tmp_path / 'experiments' / name / 'models/net_g_latest.pth')
    for file in ('train_log.csv', 'curves.png'):
        (tmp_path / 'experiments' / name / file).write_text(file)
    monkeypatch.setattr(release_weights, 'ROOT', tmp_path)
    monkeypatch.setattr(pretrained, 'FOLDER', tmp_path)
    monkeypatch.setattr('sys.argv', ['release_weights.py', weights_name, '--list'])
    release_weights.main()
    assert capsys.readouterr().out == f'python basicsr/train.py -opt {RELEASED}/{name}.yml --auto_resume\n'
    monkeypatch.setattr('sys.argv', ['release_weights.py', weights_name])
    release_weights.main()
    stored = files.load(pretrained.weights_file(weights_name))['params']
    for key, weight in params.items():
        torch.testing.assert_close(stored[key].float(), share * weight + (1 - share) * start[key], rtol=1e-3, atol=1e-4)
        assert stored[key].dtype == torch.half
    assert sorted(path.name for path in (tmp_path / 'docs/training').iterdir()) == [f'{name}.csv', f'{name}.png']


@pytest.mark.parametrize('scale', SCALES)
def test_training_is_the_papers(scale: int) -> None:
    opt = read(f'options/train_SrSENet_x{scale}.yml')
    data, train = opt['datasets']['train'], opt['train']
    assert (opt['scale'], opt['network_g']['upscale'], opt['num_gpu']) == (scale, scale, 'auto')
    assert (data['gt_size'], data['color'], data['batch_size_per_gpu']) == (96, 'y', 64)
    assert data['use_hflip']
    assert data['use_rot']
    assert (train['optim_g']['type'], train['optim_g']['lr'], train['optim_g']['betas'][0]) == ('Adam', 1e-4, 0.9)
    assert train['pixel_opt']['type'] == 'CharbonnierPenaltyLoss'
    # 150 epochs, with 800 images in DIV2K
    epoch = 800 * data['dataset_enlarge_ratio'] / data['batch_size_per_gpu']
    assert train['scheduler']['milestones'] == [150 * epoch, 300 * epoch, 450 * epoch]
    assert train['total_iter'] > train['scheduler']['milestones'][-1]


@pytest.mark.parametrize('path', COMPARED, ids=str)
def test_compared_networks_are_trained_as_srsenet_is(path: Path) -> None:
    theirs, ours = read(path), read('options/train_SrSENet_x4.yml')
    for opt in (theirs, ours):
        loss = opt['train'].pop('pixel_opt')
        opt['loss'] = dict(loss.get('loss', loss)) | {'loss_weight': loss['loss_weight']}
        del opt['name'], opt['network_g']
        opt['train'].pop('accumulate', None)  # the same step in parts
        opt['train'].pop('compile', None)  # and in fewer passes, which gains something for SrSENet alone
        if path.parent.name == 'compare':  # BasicSR's networks are for RGB
            opt['val'].pop('round_gt', None)
            for dataset in opt['datasets'].values():
                dataset.pop('color', None)
    assert theirs == ours


@pytest.mark.parametrize('arch', ['SrSENet', 'Bicubic'])
@pytest.mark.parametrize('scale', SCALES)
def test_testing_covers_the_papers_benchmarks(arch: str, scale: int) -> None:
    opt = read(f'options/test_{arch}_x{scale}.yml')
    names = [dataset['name'] for dataset in opt['datasets'].values()]
    assert names == ['Set5', 'Set14', 'B100', 'Urban100', 'Manga109']
    for dataset in opt['datasets'].values():
        assert dataset['dataroot_gt'] == f'datasets/{dataset["name"]}/GTmod{scale}'
        assert dataset['dataroot_lq'] == f'datasets/{dataset["name"]}/LRbicx{scale}'
    weights = f'srsenet_x{scale}' if arch == 'SrSENet' else None
    assert opt['path']['pretrain_network_g'] == weights


@pytest.mark.parametrize('path', OPTION_FILES, ids=str)
def test_commands_that_make_the_data_are_commands(path: Path) -> None:
    for dataset in read(path)['datasets'].values():
        program, *arguments = shlex.split(dataset['prepare'])
        if program == 'srsenet':
            parsed = cli._parser().parse_args(arguments)
            assert os.path.dirname(dataset['dataroot_gt']) == str(parsed.out)
        else:
            assert program == 'bash'
            assert (ROOT / arguments[0]).is_file()
