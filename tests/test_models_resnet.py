"""The networks held to Table 1 as the paper prints it, to the pre-activation design, and to a numpy
forward pass."""
import ast
import functools
import json
from pathlib import Path

import numpy as np
import pytest
from test_nn_oracle import BLOCKS, batch_norm, conv, flat, max_pool, piece, randomize, relu

from gluon_a2.backend import mx
from gluon_a2.models import get_model
from gluon_a2.models.resnet import Bottleneck
from gluon_a2.models.table import ZOO

# Table 1, read off the paper: stage, width of the first two convolutions, k of each unit's middle
# one, output.
TABLE_1 = {
    'resnet26_3d': {
        'input': (16, 112, 112), 'stem': ((3, 5, 5), 16, (16, 56, 56)), 'pool': None,
        'last': (8, 7, 7),
        'stages': [('conv2', 32, [3, 3], (8, 56, 56)), ('conv3', 64, [3, 3], (8, 28, 28)),
                   ('conv4', 128, [3, 3], (8, 14, 14)), ('conv5', 256, [3, 3], (8, 7, 7))]},
    'resnet29_3d': {
        'input': (16, 112, 112), 'stem': ((3, 5, 5), 16, (16, 56, 56)), 'pool': None,
        'last': (8, 7, 7),
        'stages': [('conv2', 32, [3, 3], (8, 56, 56)), ('conv3', 64, [3, 3], (8, 28, 28)),
                   ('conv4', 128, [3, 3, 3], (8, 14, 14)), ('conv5', 256, [3, 3], (8, 7, 7))]},
    'resnet50_3d': {
        'input': (8, 224, 224), 'stem': ((3, 5, 5), 32, (8, 112, 112)), 'pool': (8, 56, 56),
        'last': (4, 7, 7),
        'stages': [('conv2', 64, [3, 3, 3], (8, 56, 56)), ('conv3', 128, [3, 1, 3, 1], (4, 28, 28)),
                   ('conv4', 256, [3, 1, 3, 1, 3, 1], (4, 14, 14)),
                   ('conv5', 512, [1, 3, 1], (4, 7, 7))]},
    # "the same ResNet-50 but without the temporal dimension" (Section 3.1)
    'resnet50': {
        'input': (224, 224), 'stem': ((5, 5), 32, (112, 112)), 'pool': (56, 56), 'last': (7, 7),
        'stages': [('conv2', 64, [3] * 3, (56, 56)), ('conv3', 128, [3] * 4, (28, 28)),
                   ('conv4', 256, [3] * 6, (14, 14)), ('conv5', 512, [3] * 3, (7, 7))]},
    # ResNet-26 has no pool, and in images its conv2 has no time to halve.
    'resnet26': {
        'input': (112, 112), 'stem': ((5, 5), 16, (56, 56)), 'pool': None, 'last': (7, 7),
        'stages': [('conv2', 32, [3, 3], (56, 56)), ('conv3', 64, [3, 3], (28, 28)),
                   ('conv4', 128, [3, 3], (14, 14)), ('conv5', 256, [3, 3], (7, 7))]},
    'resnet29': {
        'input': (112, 112), 'stem': ((5, 5), 16, (56, 56)), 'pool': None, 'last': (7, 7),
        'stages': [('conv2', 32, [3, 3], (56, 56)), ('conv3', 64, [3, 3], (28, 28)),
                   ('conv4', 128, [3, 3, 3], (14, 14)), ('conv5', 256, [3, 3], (7, 7))]},
    # ResNet-152 of ref. [9], 3, 8, 36 and 3 units, in the same design
    'resnet152': {
        'input': (224, 224), 'stem': ((5, 5), 32, (112, 112)), 'pool': (56, 56), 'last': (7, 7),
        'stages': [('conv2', 64, [3] * 3, (56, 56)), ('conv3', 128, [3] * 8, (28, 28)),
                   ('conv4', 256, [3] * 36, (14, 14)), ('conv5', 512, [3] * 3, (7, 7))]},
}
# where blocks go: "4 @ Conv3&4" of Table 3; two in conv3 and three in conv4 of ResNet-50
PLACES = {'resnet26': {'conv3': (1, 2), 'conv4': (1, 2)},
          'resnet29': {'conv3': (1, 2), 'conv4': (1, 2)},
          'resnet50': {'conv3': (1, 3), 'conv4': (1, 3, 5)},
          'resnet152': {'conv3': (1, 3), 'conv4': (1, 3, 5)}}
UNITS = {'resnet26': (2, 2, 2, 2), 'resnet29': (2, 2, 3, 2), 'resnet50': (3, 4, 6, 3),
         'resnet152': (3, 8, 36, 3)}


def expected_convolutions(table):
    """{name: (kernel, stride, channels, output)} of every convolution of a column of Table 1."""
    dims = len(table['input'])
    kernel, channels, size = table['stem']
    stride = tuple(a // b for a, b in zip(table['input'], size))
    found, one = {'conv1': (kernel, stride, channels, size)}, (1,) * dims
    size = table['pool'] or size
    for stage, width, ks, output in table['stages']:
        for unit, k in enumerate(ks, 1):
            stride, name = tuple(a // b for a, b in zip(size, output)), f'{stage}_unit{unit}'
            found[f'{name}_conv1'] = one, one, width, size
            # the middle one has the stride
            found[f'{name}_conv2'] = (k, 3, 3)[3 - dims:], stride, width, output
            found[f'{name}_conv3'] = one, one, 4 * width, output
            if unit == 1:
                found[f'{name}_shortcut'] = one, stride, 4 * width, output
            size = output
    return found


class Graph:
    """A symbol's nodes, by name and by what feeds them."""

    def __init__(self, symbol, **shapes):
        internals = symbol.get_internals()
        self.nodes = json.loads(internals.tojson())['nodes']
        self.by_name = {node['name']: node for node in self.nodes}
        self.sizes = dict(zip(internals.list_outputs(),
                              internals.infer_shape(**shapes)[1])) if shapes else {}

    def source(self, node, slot=0):
        """The node that feeds `node`, looking through the folding around a 5-D BatchNorm."""
        source = self.nodes[node['inputs'][slot][0]]
        return self.source(source) if source['op'] in ('Reshape', 'reshape_like') else source

    def ops(self, op):
        return [node for node in self.nodes if node['op'] == op]

    def numbers(self, node, name):
        return ast.literal_eval(node['attrs'][name])


@functools.lru_cache(None)
def graph(name):
    net = get_model(name)
    return Graph(net(mx.sym.var('data')), data=(1, 3, *ZOO[name].input_size))


@pytest.mark.parametrize('name', TABLE_1)
def test_every_convolution_is_the_one_of_table_1(name):
    table, g = TABLE_1[name], graph(name)
    assert ZOO[name].input_size == (table['input'] if name != 'resnet26' else (112, 112))
    found = {}
    for node in g.ops('Convolution'):
        kernel, size = g.numbers(node, 'kernel'), g.sizes[node['name'] + '_output']
        assert g.numbers(node, 'pad') == tuple(k // 2 for k in kernel)
        assert node['attrs']['no_bias'] == 'True' and int(node['attrs'].get('num_group', 1)) == 1
        assert set(g.numbers(node, 'dilate')) == {1}
        found[node['name'].replace('_conv_fwd', '')] = (
            kernel, g.numbers(node, 'stride'), int(node['attrs']['num_filter']), size[2:])
        assert size[1] == int(node['attrs']['num_filter'])
    assert found == expected_convolutions(table)


@pytest.mark.parametrize('name', TABLE_1)
def test_pools_and_classifier(name):
    table, g = TABLE_1[name], graph(name)
    pools = [node for node in g.ops('Pooling') if node['attrs']['pool_type'] == 'max']
    whole = [node for node in g.ops('Pooling') if node['attrs']['pool_type'] == 'avg']
    dims = len(table['input'])
    if table['pool']:
        pool, = pools
        assert g.numbers(pool, 'kernel') == (1, 3, 3)[3 - dims:]
        assert g.numbers(pool, 'stride') == (1, 2, 2)[3 - dims:]
        assert g.sizes[pool['name'] + '_output'][2:] == table['pool']
    else:
        assert pools == []
    average, = whole
    assert average['attrs']['global_pool'] == 'True'
    final = g.source(average)  # the final BN-ReLU is right before the pool
    assert (final['op'], final['attrs']['act_type']) == ('Activation', 'relu')
    assert g.source(final)['name'] == 'final_bn_fwd'
    assert g.sizes[final['name'] + '_output'][2:] == table['last']
    fc, = g.ops('FullyConnected')
    assert fc['attrs'].get('no_bias', 'False') == 'False'
    # ImageNet-1k; Kinetics-400
    assert int(fc['attrs']['num_hidden']) == (1000 if dims == 2 else 400)
    assert g.source(fc)['op'] == 'Flatten' and g.source(g.source(fc)) is average
    assert g.nodes[-1] is fc


@pytest.mark.parametrize('name', TABLE_1)
def test_units_are_pre_activation_and_share_one_batch_norm(name):
    table, g = TABLE_1[name], graph(name)

    def behind_bn_relu(convolution):
        """What BN-ReLU normalises in front of a convolution."""
        activation = g.source(convolution)
        assert activation['op'] == 'Activation' and activation['attrs']['act_type'] == 'relu'
        norm = g.source(activation)
        assert norm['op'] == 'BatchNorm' and norm['attrs']['fix_gamma'] == 'False'
        assert float(norm['attrs']['eps']) == 1e-5 and float(norm['attrs']['momentum']) == 0.9
        return g.source(norm)

    before = g.by_name['conv1_conv_fwd']
    assert g.source(before)['name'] == 'data'
    for stage, _, ks, _ in table['stages']:
        for unit in range(1, len(ks) + 1):
            first, middle, last = (g.by_name[f'{stage}_unit{unit}_conv{i}_conv_fwd']
                                   for i in (1, 2, 3))
            total, = (node for node in g.nodes if node['op'] == 'elemwise_add' and last in
                      (g.source(node, 0), g.source(node, 1)))
            other = g.source(total, 0) if g.source(total, 1) is last else g.source(total, 1)
            if (stage, unit) == ('conv2', 1):  # the stem's BN-ReLU, and pool, stand in between
                stem = g.source(g.source(first))
                stem = g.source(stem)
                if table['pool']:
                    assert stem['op'] == 'Pooling'
                    stem = g.source(stem)
                assert (stem['op'], g.source(stem)['name']) == ('Activation', 'conv1_bn_fwd')
                assert g.source(g.source(stem)) is before
            else:
                assert behind_bn_relu(first) is before
            assert behind_bn_relu(middle) is first and behind_bn_relu(last) is middle
            if unit == 1:
                assert other['name'] == f'{stage}_unit1_shortcut_conv_fwd'
                assert g.source(other) is g.source(first)  # one shared BN-ReLU
            else:
                assert other is before
            before = total
    assert g.source(g.by_name['final_bn_fwd']) is before


@pytest.mark.parametrize('name', sorted(name for name, row in ZOO.items() if row.kind))
def test_blocks_stand_where_the_paper_puts_them(name):
    """a2 and nl behind the unit's sum, se on every unit's branch; the plain network is left as it
    was."""
    kind, base = name.split('_', 1)
    backbone, dims = base.replace('_3d', ''), 3 if base.endswith('_3d') else 2
    g, plain = graph(name), graph(base)
    names = {node['name'] for node in g.nodes if node['op'] == 'null'}
    rest = {node['name'] for node in plain.nodes if node['op'] == 'null'}
    places = {(n.split('_')[0], int(n.split('_')[1][4:])) for n in names - rest}
    assert rest <= names and all(f'_{kind}_' in n for n in names - rest)
    if kind == 'se':
        assert places == {(f'conv{s}', u) for s, units in zip((2, 3, 4, 5), UNITS[backbone])
                          for u in range(1, units + 1)}
    else:
        assert places == {(stage, unit) for stage, units in PLACES[backbone].items()
                          for unit in units}
    for stage, unit in places:
        at, width = f'{stage}_unit{unit}_', {'conv2': 32, 'conv3': 64, 'conv4': 128,
                                             'conv5': 256}[stage]
        channels = 4 * width * (2 if backbone in ('resnet50', 'resnet152') else 1)
        last = g.by_name[f'{at}conv3_conv_fwd']
        if kind == 'se':
            scaled = g.by_name[f'{at}se_scale']
            assert g.source(scaled) is last  # before the sum
            assert [
                node['op'] for node in g.nodes
                if scaled in [g.source(node, i) for i in range(len(node['inputs']))]
            ] == ['elemwise_add']
            assert g.by_name[f'{at}se_squeeze_conv_fwd']['attrs']['num_filter'] == str(
                channels // 16)
        else:
            # Section 3.2; 33.0 M of Section 3.3
            inner = channels // (4 if backbone in ('resnet26', 'resnet29') else 2)
            first = g.by_name[f'{at}{kind}_phi_conv_fwd']
            assert first['attrs']['num_filter'] == str(inner)
            total = g.source(g.source(g.source(first)))
            assert total['op'] == 'elemwise_add' and last in (g.source(total, 0), g.source(
                total, 1))
            assert g.sizes[f'{at}{kind}_expand_conv_fwd_output'][1] == channels
            assert len(g.numbers(first, 'kernel')) == dims


def stages_of_parameters(net):
    return {tuple(name.split('_')[:2]) for name in net.collect_params()
            if '_a2_' in name or '_nl_' in name}


@pytest.mark.parametrize('blocks,expected', [
    ({'conv2': (2,)}, {('conv2', 'unit2')}), ({}, set()),
    ({'conv4': [1, 2]}, {('conv4', 'unit1'), ('conv4', 'unit2')}),
    ({'conv5': (1,), 'conv3': ()}, {('conv5', 'unit1')})])
def test_placement_can_be_overridden(blocks, expected):
    assert stages_of_parameters(get_model('a2_resnet26_3d', blocks=blocks)) == expected
    assert stages_of_parameters(get_model('nl_resnet26', blocks=blocks)) == expected


def forward(name, x, p, training=False):
    """The network of Table 1, by hand: logits of x."""
    table, dims = TABLE_1[name.split('_', 1)[1] if name[2] == '_' else name], x.ndim - 2
    kind = name[:2] if name[2] == '_' else None
    base = name.replace('_3d', '').split('_')[-1]
    kernel, _, size = table['stem']
    x = conv(x, p['conv1_conv_weight'], tuple(a // b for a, b in zip(table['input'], size)))
    x = relu(batch_norm(x, p, 'conv1_', training))
    if table['pool']:
        x = max_pool(x, (1, 3, 3)[3 - dims:], (1, 2, 2)[3 - dims:])
        size = table['pool']
    for stage, _, ks, output in table['stages']:
        for unit in range(1, len(ks) + 1):
            at, stride = f'{stage}_unit{unit}_', tuple(a // b for a, b in zip(size, output))
            a = relu(batch_norm(x, p, at, training))
            shortcut = conv(a, p[f'{at}shortcut_conv_weight'], stride) if unit == 1 else x
            y = piece(conv(a, p[f'{at}conv1_conv_weight']), p, f'{at}conv2_', training, stride)
            y = piece(y, p, f'{at}conv3_', training)
            x = shortcut + (BLOCKS['se'](y, p, f'{at}se_') if kind == 'se' else y)
            if kind in ('a2', 'nl') and unit in PLACES[base].get(stage, ()):
                x = BLOCKS[kind](x, p, f'{at}{kind}_', training)
            size = output
    x = flat(relu(batch_norm(x, p, 'final_', training))).mean(2)
    return x @ p['fc_weight'].T + p['fc_bias']


@pytest.mark.parametrize('name,size,training', [
    *((f'{kind}resnet26{space}', size, True) for kind in ('', 'a2_', 'nl_', 'se_')
      for space, size in (('', (35, 43)), ('_3d', (3, 19, 35)))),
    ('a2_resnet26', (35, 43), False), ('a2_resnet26_3d', (3, 19, 35), False),
    ('resnet29_3d', (3, 19, 35), True), ('a2_resnet50', (35, 33), True),
    ('a2_resnet50_3d', (3, 19, 17), True)])
def test_a_whole_network_equals_the_forward_pass_by_hand(name, size, training):
    net = get_model(name, classes=7)
    net.initialize()
    net.cast('float64')
    p = randomize(net, 1)
    x = np.random.RandomState(2).normal(size=(2, 3, *size))
    with mx.autograd.record(train_mode=training):
        y = net(mx.nd.array(x, dtype='float64')).asnumpy()
    expected = forward(name, x, p, training)
    assert y.shape == (2, 7) and np.abs(expected[0]
                                        - expected[1]).max() > 1e-3 * np.abs(expected).max()
    np.testing.assert_allclose(y, expected, rtol=0, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize('name,training,tolerance', [
    ('se_resnet26_3d', True, 1e-2), ('a2_resnet26_3d', True, 0.5),
    ('nl_resnet26_3d', True, 0.5), ('a2_resnet26_3d', False, 1e-3)])
def test_video_networks_train_on_cpu(name, training, tolerance):
    """Forward and backward in float32, imperative and hybridized with static memory: float64's
    gradients both times.

    With batch statistics rounding grows to a fifth, since the expansion's BatchNorm divides by the
    small spread of Z in so small a batch; a layout misread is off by more than the gradient itself.
    """
    rng, results = np.random.RandomState(3), []
    x, label = rng.normal(size=(2, 3, 4, 32, 32)), mx.nd.array([1, 4])
    for dtype, hybrid in (('float64', False), ('float32', False), ('float32', True)):
        net = get_model(name, classes=5)
        net.initialize()
        randomize(net, 1)
        net.cast(dtype)
        if hybrid:
            net.hybridize(static_alloc=True, static_shape=True)
        with mx.autograd.record(train_mode=training):
            loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()(0.01 * net(mx.nd.array(x, dtype=dtype)),
                                                           label)
        loss.backward(train_mode=training)
        results.append({n: v.grad().asnumpy() for n, v in net.collect_params().items()
                        if v.grad_req != 'null'})
    exact, *singles = results
    assert len(exact) > 60 and all(gradient.any() for gradient in exact.values())
    for single in singles:
        assert single.keys() == exact.keys()
        errors = {parameter: np.linalg.norm(single[parameter] - gradient) / np.linalg.norm(gradient)
                  for parameter, gradient in exact.items()}
        assert max(errors.values()) < tolerance, max(errors.items(), key=lambda item: item[1])


@pytest.mark.parametrize('name', ['se_resnet26', 'a2_resnet26_3d'])
def test_last_gamma_starts_every_branch_at_zero_and_two_steps_move_everything(name):
    net = get_model(name, classes=5, last_gamma=True)
    net.initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2))
    size, branches = (4, 32, 32)[-net.row.dims:], []
    x = mx.nd.array(np.random.RandomState(3).normal(size=(4, 3, *size)))
    units = [child for child in net.features._children.values() if isinstance(child, Bottleneck)]
    hooks = [unit.conv3.register_forward_hook(lambda _, x, y: branches.append(y)) for unit in units]
    net(x)
    for hook in hooks:
        hook.detach()
    assert len(units) == len(branches) == 8 and not any(branch.asnumpy().any()
                                                        for branch in branches)
    start = {n: v.data().asnumpy() for n, v in net.collect_params().items() if v.grad_req != 'null'}
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    for _ in range(2):
        with mx.autograd.record():
            loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()(net(x), mx.nd.array([1, 4, 0, 2]))
        loss.backward()
        trainer.step(4)
    assert [n for n, value in start.items()
            if (net.collect_params()[n].data().asnumpy() == value).all()] == []


def test_identity_blocks_leave_the_backbone_as_it_was():
    """With the same weights a2_resnet26(identity=True) is resnet26, to the bit, until its first
    step."""
    plain = get_model('resnet26', classes=5)
    plain.initialize()
    p = randomize(plain, 1)
    x = mx.nd.array(np.random.RandomState(2).normal(size=(2, 3, 35, 43)))
    for name in ('a2_resnet26', 'nl_resnet26', 'se_resnet26'):
        net = get_model(name, classes=5, identity=True)
        net.initialize(mx.init.Xavier())
        for parameter, value in p.items():
            net.collect_params()[parameter].set_data(value)
        np.testing.assert_array_equal(net(x).asnumpy(), plain(x).asnumpy())


def test_dropout_acts_in_training_only_and_in_front_of_the_classifier():
    net = get_model('resnet26', classes=5, dropout=0.5)
    net.initialize()
    p = randomize(net, 1)
    x = mx.nd.array(np.random.RandomState(2).normal(size=(2, 3, 35, 43)))
    np.testing.assert_allclose(
        net(x).asnumpy(), forward('resnet26', x.asnumpy(), p), rtol=1e-3, atol=1e-2)
    mx.random.seed(1)
    features = mx.nd.ones((1, 1024, 1, 1))
    with mx.autograd.record():
        dropped = net.dropout(features).asnumpy()
    assert set(np.unique(dropped)) == {0.0, 2.0} and 400 < (dropped == 0).sum() < 624
    g = Graph(net(mx.sym.var('data')))
    fc, = g.ops('FullyConnected')
    assert g.source(fc)['op'] == 'Dropout' and float(g.source(fc)['attrs']['p']) == 0.5
    assert Graph(get_model('resnet26')(mx.sym.var('data'))).ops('Dropout') == []


def test_no_name_is_automatic():
    """Parameters and outputs say where they are. The networks give the committed symbols, whatever
    came before them: test_models_trace.py."""
    for path in Path(__file__).resolve().parents[1].glob('symbols/*.json'):
        nodes = json.loads(path.read_text())['nodes']
        for word in ('hybridsequential', 'conv0', 'conv2d', 'conv3d', 'batchnorm', 'dense',
                     'bottleneck', 'resnet'):
            assert [node['name'] for node in nodes
                    if node['op'] == 'null' and word in node['name']] == [], (path, word)
    twice = [list(get_model('a2_resnet26_3d').collect_params()) for _ in range(2)]
    assert twice[0] == twice[1]
    assert 'conv3_unit1_a2_phi_conv_weight' in get_model('a2_resnet50').collect_params()
    assert 'conv5_unit3_se_excite_conv_bias' in get_model('se_resnet50').collect_params()


def test_a_bagnet_sees_13_pixels_and_its_blocks_the_rest():
    def changed(net):
        """Which positions of the last map answer to the pixel in the middle of 65×65."""
        net.initialize(mx.init.Xavier())
        image = mx.nd.zeros((1, 3, 65, 65))
        before = net.features(image)
        image[:, :, 32, 32] = 1
        return np.argwhere((net.features(image) - before).asnumpy()[0].any(axis=0))
    # strides of 2 at conv1, conv3, conv4 and conv5: positions 16 pixels apart, ±6 pixels seen
    assert changed(get_model('bagnet26', classes=3)).tolist() == [[2, 2]]
    assert len(changed(get_model('resnet26', classes=3))) == 25
    assert len(changed(get_model('bagnet26', plug='a2', classes=3))) == 25
