"""Weights by name: in Python and in option files."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.utils import options

from srsenet_plugin import SrSENet, load_pretrained
from srsenet_plugin.toolbox.option_checks import OptionError
from srsenet_plugin.weights import pretrained


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SrSENet:
    """A small network, whose weights are in the package's place, in half precision."""
    torch.manual_seed(0)
    net = SrSENet(num_feat=8, num_block=1, reduction=2, upscale=3)
    network_g = {'type': 'SrSENet', 'num_feat': 8, 'num_block': 1, 'reduction': 2, 'upscale': 3}
    params = {name: weight.half() for name, weight in net.state_dict().items()}
    torch.save({'params': params, 'network_g': network_g}, tmp_path / 'srsenet_x3.pth')
    (tmp_path / 'SHA256SUMS').write_text(pretrained.checksum_line(tmp_path / 'srsenet_x3.pth'))
    monkeypatch.setattr(pretrained, 'FOLDER', tmp_path)
    return net.half().float().eval()


def test_load_pretrained(small: SrSENet) -> None:
    net = load_pretrained(3)
    lq = torch.rand(1, 1, 7, 9)
    assert not net.training
    assert torch.equal(net(lq), small(lq))


def test_scales_without_weights_are_told_which_there_are(small: SrSENet) -> None:
    with pytest.raises(ValueError, match=r'There are no weights srsenet_x5\. There are: srsenet_x3\.'):
        load_pretrained(5)


def test_changed_weights_are_not_taken_for_the_packages(small: SrSENet, tmp_path: Path) -> None:
    content = bytearray((tmp_path / 'srsenet_x3.pth').read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / 'srsenet_x3.pth').write_bytes(content)
    with pytest.raises(ValueError, match=r'srsenet_x3\.pth is not the file that came with srsenet_plugin'):
        load_pretrained(3)


@pytest.mark.usefixtures('small')
class TestOptionFiles:
    @pytest.fixture(autouse=True)
    def in_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)

    def parse(self, weights: str, monkeypatch: pytest.MonkeyPatch) -> str:
        opt = {'name': 'x', 'scale': 3, 'num_gpu': 0, 'datasets': {}, 'path': {'pretrain_network_g': weights}}
        Path('opt.yml').write_text(yaml.safe_dump(opt))
        monkeypatch.setattr(sys, 'argv', ['test.py', '-opt', 'opt.yml'])
        return options.parse_options('.', is_train=False)[0]['path']['pretrain_network_g']

    def test_name_the_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        assert self.parse('srsenet_x3', monkeypatch) == str(tmp_path / 'srsenet_x3.pth')

    def test_files_of_that_name_come_first(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path('srsenet_x3').touch()
        assert self.parse('srsenet_x3', monkeypatch) == 'srsenet_x3'

    def test_changed_weights(self, monkeypatch: pytest.MonkeyPatch) -> None:
        Path('SHA256SUMS').write_text('')
        with pytest.raises(OptionError, match=r'pretrain_network_g of path: .*x3\.pth is not the file that came'):
            self.parse('srsenet_x3', monkeypatch)

    def test_unknown_names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with pytest.raises(OptionError, match=r'srsenet_x5 .* does not exist.*, or one of srsenet_x3\.'):
            self.parse('srsenet_x5', monkeypatch)


def test_sizes_come_from_the_weights_alone(tmp_path: Path) -> None:
    """What a file says of its network could ask for any amount of memory."""
    net = SrSENet(num_feat=8, num_block=1, reduction=2, negative_slope=0.1)
    network_g = {'type': 'SrSENet', 'num_feat': 10**6, 'num_block': 10**9, 'negative_slope': 0.1}
    torch.save({'params': net.state_dict(), 'network_g': network_g}, tmp_path / 'x.pth')
    loaded = pretrained.load_network(tmp_path / 'x.pth')
    lq = torch.rand(1, 1, 5, 6)
    assert torch.equal(loaded(lq), net(lq))
