"""The PyTorch form: Table 1 in it, its description of a network, its numbers, and the way back."""
import csv
import json
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import tiny_bundle
from loading import ROOT, call, load

from gluon_a2.backend import mx
from gluon_a2.deploy import read_bundle, write_bundle
from gluon_a2.deploy.fold import fold
from gluon_a2.deploy.graph import Graph
from gluon_a2.deploy.pytorch import described, to_torch
from gluon_a2.errors import UserError
from gluon_a2.formats.pytorch import name_there
from gluon_a2.models import get_model, load_weights
from gluon_a2.models.table import BACKBONES, ZOO

torch = pytest.importorskip('torch')
proof = load('proofs/torch_zoo.py')


@pytest.fixture(scope='module')
def form():
    return proof.form()


def of_graph(content):
    return described({node.name: node for node in Graph(content).nodes() if node.op != 'null'})


def test_its_table_is_ours(form):
    assert form.TABLE.keys() == BACKBONES.keys()
    for name, row in form.TABLE.items():
        assert row == tuple(getattr(BACKBONES[name], column) for column in row._fields), name


@pytest.mark.parametrize('name', ZOO)
def test_a_graph_tells_what_the_name_tells(form, name):
    """Units, kernels, strides, pools, blocks and their widths, of all rows."""
    content = (ROOT / 'symbols' / f'{name}-symbol.json').read_bytes()
    assert of_graph(content) == form.network(name).described


@pytest.mark.parametrize('name, options', [
    ('a2_resnet26', {'blocks': {'conv2': (2,), 'conv5': (1,)}, 'm': 5, 'n': 7,
                     'association': 'right', 'softmax': 'gather'}),
    ('a2_resnet26_3d', {'blocks': {'conv4': (2,)}, 'softmax': 'distribute'}),
    ('nl_resnet26_3d', {'blocks': {'conv3': (2,)}, 'ratio': 3, 'identity': True}),
    ('se_resnet26', {'blocks': {'conv4': (1,)}, 'identity': True})])
def test_every_placement_computes_and_learns_the_same(form, name, options):
    row = proof.measure(name, **options)
    assert proof.held(row), row
    net = proof.randomized(name, **options)
    graph = net(mx.sym.var('data')).tojson().encode()
    assert of_graph(graph) == form.network(name, proof.CLASSES, **options).described


def test_multi_fiber_networks_with_blocks_put_in(form):
    assert proof.held(proof.measure('mfnet', plug='se'))
    graph = proof.randomized('mfnet_3d', plug='a2')(mx.sym.var('data')).tojson().encode()
    assert of_graph(graph) == form.network('a2_mfnet_3d', proof.CLASSES).described


def test_the_proof_holds_all_rows_of_the_zoo():
    with open(ROOT / 'proofs' / 'torch_zoo.csv', newline='') as file:
        rows = {row['network']: row for row in csv.DictReader(file)}
    assert rows.keys() == ZOO.keys()
    assert all(map(proof.held, rows.values()))


def test_new_networks_start_as_ours_do(form):
    torch.manual_seed(1)
    net = form.network('a2_resnet26', 10, identity=True, dropout=0.5)
    weights = dict(net.named_parameters())
    assert not weights['conv3_unit1_a2.expand.conv.weight'].any()
    spread = weights['conv4_unit2.conv2.conv.weight'].std().item()
    assert spread == pytest.approx((2 / (128 * 9)) ** 0.5, rel=0.02)
    assert net.dropout.p == 0.5 and not weights['fc.bias'].any()
    with pytest.raises(ValueError, match="unknown network 'resnet18': choose one of resnet26"):
        form.network('resnet18')


def test_names_there():
    assert name_there('conv3_unit1_a2_phi_bn_gamma') == 'conv3_unit1_a2.phi.bn.weight'
    assert name_there('conv3_unit1_conv2_conv_weight') == 'conv3_unit1.conv2.conv.weight'
    assert name_there('conv3_unit1_se_squeeze_conv_bias') == 'conv3_unit1.se.squeeze_conv.bias'
    assert name_there('conv3_unit1_shortcut_bn_beta') == 'conv3_unit1.shortcut_bn.bias'
    for other in ('conv3_unit1_conv2_conv_bias', 'conv3_unit1_plus_bn_gamma', 'fc6_weight'):
        assert name_there(other) is None


def test_other_networks_have_no_such_form():
    separate = tiny_bundle.make('a2_resnet26')
    separate.arguments['conv3_unit1_shortcut_bn_gamma'] = separate.arguments['final_bn_gamma']
    with pytest.raises(UserError, match='it has conv3_unit1_shortcut_bn_gamma; leave out `torch`'):
        to_torch(separate)
    folded, _, _ = fold(tiny_bundle.make('a2_resnet26'))
    with pytest.raises(UserError, match='a2_resnet26 has no PyTorch form, .* it has conv'):
        to_torch(folded)
    with pytest.raises(UserError, match='res3d_resnet18 has no PyTorch form'):
        to_torch(tiny_bundle.make('res3d_resnet18', tiny_bundle.VIDEO))


def test_out_and_back_by_the_command(tmp_path, form):
    """Written, run as the example says, trained a step, exported back, and read by name."""
    write_bundle(tiny_bundle.make('a2_resnet26'), tmp_path / 'mine')
    out, _ = call('export.py', tmp_path / 'mine', '--out', tmp_path / 'out' / 'net', '--torch')
    assert 'PyTorch: the logits differ by ' in out and 'net-torch.py' in out
    example = tmp_path / 'out' / 'net-torch.py'
    assert len(example.read_text().splitlines()) == 10
    said = subprocess.run([sys.executable, example.name], cwd=str(example.parent), check=True,
                          stdout=subprocess.PIPE, encoding='utf-8').stdout
    assert any(name in said for name in ('one', 'two', 'three'))
    net, meta = form.load(example.with_name('net.safetensors'))
    assert meta['classes'] == ['one', 'two', 'three']
    net.train()(torch.randn(3, 3, 48, 48)).sum().backward()
    torch.optim.SGD(net.parameters(), 0.1).step()
    form.save(net, tmp_path / 'trained.safetensors', meta)
    call('export.py', tmp_path / 'mine', '--pretrained', tmp_path / 'trained.safetensors', '--out',
         tmp_path / 'back')
    state, back = net.state_dict(), read_bundle(tmp_path / 'back')
    assert back.meta['training'] == {'data': 'unknown data'}
    for name, value in back.values.items():
        np.testing.assert_array_equal(value, state[name_there(name)].numpy())
    gluon = get_model('a2_resnet26', pretrained=tmp_path / 'trained.safetensors', classes=3)
    for name, value in back.values.items():
        np.testing.assert_array_equal(gluon.collect_params()[name].data().asnumpy(), value)
    torch.save(state, tmp_path / 'trained.pth')
    assert load_weights(gluon, tmp_path / 'trained.pth') == []


def test_weights_of_another_network_do_not_come_back(tmp_path):
    write_bundle(tiny_bundle.make('a2_resnet26'), tmp_path / 'mine')
    (tmp_path / 'w.safetensors').write_bytes(to_torch(tiny_bundle.make('resnet26')))
    _, err = call('export.py', tmp_path / 'mine', '--pretrained', tmp_path / 'w.safetensors',
                  '--out', tmp_path / 'back', code=2)
    assert 'is not of a2_resnet26 as it was exported: conv3_unit1_a2_expand_bn_beta is' in err


def test_without_pytorch_it_is_written_and_says_so(tmp_path, monkeypatch):
    write_bundle(tiny_bundle.make('se_resnet26'), tmp_path / 'mine')
    monkeypatch.setitem(sys.modules, 'torch', None)
    out, _ = call('export.py', tmp_path / 'mine', '--out', tmp_path / 'net', '--torch')
    assert 'PyTorch is not installed here' in out
    content = (tmp_path / 'net.safetensors').read_bytes()
    values = safetensors.numpy.load(content)
    assert 'conv2_unit1.se.excite_conv.bias' in values
    head = json.loads(content[8:8 + int.from_bytes(content[:8], 'little')])
    assert json.loads(head['__metadata__']['meta'])['network'] == 'se_resnet26'


def test_it_is_not_folded(tmp_path):
    _, err = call('export.py', tmp_path / 'mine', '--out', tmp_path / 'net', '--torch', '--fold',
                  code=2)
    assert '--torch and --fold exclude each other' in err


def test_the_page_quotes_the_proof():
    page = (ROOT / 'docs' / 'leaving-mxnet.md').read_text(encoding='utf-8')
    with open(ROOT / 'proofs' / 'torch_zoo.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    worst = {name: max((row[name] for row in rows), key=float) for name in (
        'logits', 'gradients', 'statistics', 'logits_float32', 'rounding')}
    words = [f'{float(value):.1e}'.replace('e-0', 'e-') for value in worst.values()]
    assert ('logits within {} of the largest, gradients {}, statistics {}; float32: logits within '
            '{}, where MXNet itself rounds by {}'.format(*words)) in page
    near = sum(float(row['logits_float32']) <= 1e-6 for row in rows)
    assert f'({near} of {len(rows)} networks within 1e-6)' in page
