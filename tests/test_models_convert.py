"""PyTorch weights in the layout of GloRe: its names written out anew, its logits in numpy, and what
is refused."""
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from test_nn_oracle import conv, relu

from gluon_a2.backend import mx
from gluon_a2.errors import UserError
from gluon_a2.models import get_model, load_weights
from gluon_a2.models.convert import name_map, separate_projections
from gluon_a2.models.table import BACKBONES

# stage: units, width of ResNet-26, which is as ResNet-50 but for its pool, and smaller
UNITS = {2: (2, 32), 3: (2, 64), 4: (2, 128), 5: (2, 256)}


# ---- the release, by its rules

def batch_norm_values(rng, name, channels):
    """What PyTorch keeps of a BatchNorm."""
    return {
        f'{name}.weight': rng.uniform(0.5, 1.5, channels),
        f'{name}.bias': rng.normal(0, 0.3, channels),
        f'{name}.running_mean': rng.normal(0, 0.3, channels),
        f'{name}.running_var': rng.uniform(0.5, 2, channels) * 1e-3,  # small, so that ε is seen
        f'{name}.num_batches_tracked': np.array(7)
    }


def kernel(rng, *shape):
    return rng.normal(0, (2 / np.prod(shape[1:])) ** 0.5, shape)


def release(classes=5, tied=False, seed=1):
    """{name: array} of an image ResNet-26; `tied`: each projection's BatchNorm is the first
    convolution's."""
    rng = np.random.default_rng(seed)
    state = {'conv1.conv.weight': kernel(rng, 16, 3, 5, 5),
             **batch_norm_values(rng, 'conv1.bn', 16)}
    channels = 16
    for stage, (units, width) in UNITS.items():
        for unit in range(1, units + 1):
            at, out = f'conv{stage}.B0{unit}.', 4 * width
            for name, inner, outer, side in (('conv_m1', channels, width, 1), ('conv_m2', width,
                                                                               width, 3),
                                             ('conv_m3', width, out, 1), ('conv_w1', channels, out,
                                                                          1)):
                if name == 'conv_w1' and unit > 1:
                    continue
                state.update(batch_norm_values(rng, f'{at}{name}.bn', inner))
                state[f'{at}{name}.conv.weight'] = 0.03 * kernel(rng, outer, inner, side, side)
            if tied and unit == 1:
                state.update({name.replace('conv_m1', 'conv_w1'): value
                              for name, value in state.items()
                              if name.startswith(f'{at}conv_m1.bn')})
            channels = out
    state.update(batch_norm_values(rng, 'tail.bn', 1024))
    state.update({'classifier.weight': kernel(rng, classes, 1024),
                  'classifier.bias': rng.normal(size=classes)})
    return {name: value if value.ndim == 0 else value.astype('float32')
            for name, value in state.items()}


def bn_relu(x, state, at):
    """The release's BatchNorm has ε = 1e-4."""
    gamma, beta, mean, var = (state[f'{at}.{name}'].astype('float64').reshape(-1, 1, 1)
                              for name in ('weight', 'bias', 'running_mean', 'running_var'))
    return relu((x - mean) / np.sqrt(var + 1e-4) * gamma + beta)


def bn_ac_conv(x, state, at, stride=1):
    return conv(bn_relu(x, state, f'{at}.bn'), state[f'{at}.conv.weight'].astype('float64'),
                (stride, stride))


def logits(state, x):
    """The release's forward pass, in float64: every convolution behind a BatchNorm and ReLU of its
    own."""
    x = bn_relu(conv(x, state['conv1.conv.weight'].astype('float64'), (2, 2)), state, 'conv1.bn')
    for stage, (units, _) in UNITS.items():
        for unit in range(1, units + 1):
            at, stride = f'conv{stage}.B0{unit}.', 2 if unit == 1 and stage > 2 else 1
            y = bn_ac_conv(bn_ac_conv(x, state, at + 'conv_m1'), state, at + 'conv_m2', stride)
            shortcut = bn_ac_conv(x, state, at + 'conv_w1', stride) if unit == 1 else x
            x = bn_ac_conv(y, state, at + 'conv_m3') + shortcut
    mean = bn_relu(x, state, 'tail.bn').mean((2, 3))
    return mean @ state['classifier.weight'].astype('float64').T + state['classifier.bias']


IMAGES = np.random.RandomState(3).normal(size=(2, 3, 37, 41))


def outputs(net, x=IMAGES):
    return net(mx.nd.array(x)).asnumpy()


def assert_close(found, expected, tolerance=2e-5):
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * np.abs(expected).max())


def ready(name='resnet26', separate=True, **options):
    net = get_model(name, **{'classes': 5, **options})
    net.initialize()
    return separate_projections(net) if separate else net


def values(net):
    return {name: parameter.data().asnumpy() for name, parameter in net.collect_params().items()}


def save(state, path):
    """As a checkpoint of its training script lies there, and as safetensors."""
    safetensors.numpy.save_file(
        {name: np.ascontiguousarray(value) for name, value in state.items()}, str(path))
    return path


@pytest.fixture(scope='module')
def state():
    return release()


# ---- the same logits

def test_the_release_gives_its_logits_here(state):
    net = ready()
    assert load_weights(net, state) == []
    expected = logits(state, IMAGES)
    assert_close(outputs(net), expected)
    load_weights(net, state, epsilon=1e-5)
    assert np.abs(outputs(net) - expected).max() > 1e-3 * np.abs(expected).max()  # ε does matter


def test_projections_that_share_their_batch_norm_need_nothing_else(tmp_path):
    state = release(tied=True)
    net = get_model('resnet26', pretrained=save(state, tmp_path / 'w.safetensors'),
                    classes=5)
    assert not any('shortcut_bn' in name for name in net.collect_params())
    assert_close(outputs(net), logits(state, IMAGES))


def test_the_map_names_every_array_of_both_networks(state):
    names = name_map(BACKBONES['resnet26'])
    assert set(names) == set(state)
    assert {here for here in names.values() if here} == set(ready().collect_params())
    assert names['conv4.B02.conv_m3.bn.running_var'] == 'conv4_unit2_conv3_bn_running_var'
    assert names['conv2.B01.conv_m1.bn.weight'] == 'conv2_unit1_bn_gamma'
    assert names['conv5.B01.conv_w1.conv.weight'] == 'conv5_unit1_shortcut_conv_weight'
    assert names['tail.bn.bias'] == 'final_bn_beta'
    assert names['conv1.bn.num_batches_tracked'] is None
    here = set(name_map(BACKBONES['resnet50']).values()) - {None}
    assert {name for name in here if '_shortcut_bn_' not in name} == set(
        get_model('resnet50').collect_params())


def test_separated_projections_give_what_the_shared_ones_gave():
    net = get_model('a2_resnet26', classes=5)
    net.initialize(mx.init.Xavier())
    net.hybridize()
    for name, parameter in net.collect_params().items():
        if 'bn_' in name:
            parameter.set_data(mx.nd.random.uniform(0.5, 1.5, parameter.shape))
    before, names = outputs(net), set(net.collect_params())
    assert separate_projections(separate_projections(net)) is net  # twice is once
    np.testing.assert_array_equal(outputs(net), before)
    added = set(net.collect_params()) - names
    assert added == {f'conv{stage}_unit1_shortcut_bn_{value}' for stage in (2, 3, 4, 5)
                     for value in ('gamma', 'beta', 'running_mean', 'running_var')}
    net.collect_params()['conv3_unit1_shortcut_bn_beta'].set_data(mx.nd.ones(128))
    assert np.abs(outputs(net) - before).max() > 1e-3  # and they are read


# ---- the files

def as_bfloat16(state, path):
    """Numpy has no such type: the header is written by hand, the values are the upper halves."""
    text, content, at = {}, b'', 0
    for name, value in state.items():
        data = (value.view('uint32') >> 16
                ).astype('<u2').tobytes() if value.dtype == 'float32' else value.tobytes()
        kind = 'BF16' if value.dtype == 'float32' else 'I64'
        text[name] = {'dtype': kind, 'shape': list(value.shape),
                      'data_offsets': [at, at + len(data)]}
        content, at = content + data, at + len(data)
    header = json.dumps(text).encode()
    path.write_bytes(len(header).to_bytes(8, 'little') + header + content)
    return path


@pytest.mark.parametrize('half', [np.float16, 'bfloat16'])
def test_half_precision_becomes_float32(tmp_path, state, half):
    if half == 'bfloat16':
        path = as_bfloat16(state, tmp_path / 'w.safetensors')
        expected = {name: (value.view('uint32') & 0xFFFF0000).view('float32')
                    for name, value in state.items() if value.dtype == 'float32'}
    else:
        halves = {name: value.astype(half) for name, value in state.items()
                  if value.dtype == 'float32'}
        path, expected = save(halves, tmp_path / 'w.safetensors'), halves
    net = ready()
    assert load_weights(net, path, epsilon=1e-5) == []
    found = values(net)
    for there, here in (('conv1.conv.weight', 'conv1_conv_weight'),
                        ('tail.bn.running_var', 'final_bn_running_var'), ('classifier.bias',
                                                                          'fc_bias')):
        assert found[here].dtype == np.float32
        np.testing.assert_array_equal(found[here], expected[there].astype('float32'))


def test_names_that_data_parallel_put_a_word_before(tmp_path, state):
    path = save({f'module.{name}': value
                 for name, value in state.items()}, tmp_path / 'w.safetensors')
    net, plain = ready(), ready()
    load_weights(net, path)
    load_weights(plain, state)
    expected = values(plain)
    assert all((value == expected[name]).all() for name, value in values(net).items())


def test_a_classifier_may_be_a_convolution(state):
    net = ready()
    load_weights(net, {**state, 'classifier.weight': state['classifier.weight'][:, :, None, None]})
    np.testing.assert_array_equal(values(net)['fc_weight'], state['classifier.weight'])


def test_blocks_and_classifier_start_anew_where_the_caller_says_so(state):
    net = ready('a2_resnet26', classes=3, identity=True)
    before = values(net)
    left = load_weights(net, state, new=('blocks', 'classifier'))
    assert sorted(left) == sorted(name for name in before
                                  if '_a2_' in name or name.startswith('fc_'))
    after = values(net)
    for name in left:
        np.testing.assert_array_equal(after[name], before[name])
    features = [outputs(child.features) for child in (net, ready_with(state))]
    assert_close(*features)  # identities: the backbone is as it was


def ready_with(state):
    net = ready()
    load_weights(net, state)
    return net


def test_a_video_network_inflates_an_image_network(state, tmp_path):
    tied = release(tied=True)
    net = ready('resnet26_3d', separate=False, classes=5)
    assert load_weights(net, tied) == []
    found = values(net)
    for name, there, frames in (('conv1_conv_weight', 'conv1.conv.weight', 3),
                                ('conv3_unit2_conv2_conv_weight', 'conv3.B02.conv_m2.conv.weight',
                                 3), ('conv2_unit1_shortcut_conv_weight',
                                      'conv2.B01.conv_w1.conv.weight', 1)):
        assert found[name].shape[2] == frames
        for t in range(frames):
            np.testing.assert_allclose(found[name][:, :, t] * frames, tied[there], rtol=1e-6)
    # as --pretrained of scripts/train_video.py has it
    path = save(tied, tmp_path / 'w.safetensors')
    left = load_weights(get_model('a2_resnet26_3d', classes=3), path, new=('blocks', 'classifier'))
    assert len(left) == 80 + 2


def test_a_video_network_takes_a_state_dict_of_its_own_shapes():
    """Names decide and shapes must agree; the release's own video networks have other ones, and are
    refused."""
    net = ready('resnet26_3d', separate=False, classes=5)
    here = {name: parameter.shape for name, parameter in net.collect_params().items()}
    state = {there: np.full(here[name], 0.25, 'float32')
             for there, name in name_map(BACKBONES['resnet26']).items() if name in here}
    assert load_weights(net, state, epsilon=1e-5) == []
    assert all((value == 0.25).all() for value in values(net).values())
    state['conv2.B01.conv_m1.conv.weight'] = np.zeros((32, 16, 3, 1, 1))
    state['conv2.B01.conv_m2.conv.weight'] = np.zeros((32, 32, 1, 3, 3))
    with pytest.raises(UserError) as caught:
        load_weights(net, state)
    assert ('2 of another shape (conv2.B01.conv_m1.conv.weight is (32, 16, 3, 1, 1), '
            'conv2_unit1_conv1_conv_weight is (32, 16, 1, 1, 1); conv2.B01.conv_m2.conv.weight is '
            '(32, 32, 1, 3, 3), conv2_unit1_conv2_conv_weight is (32, 32, 3, 3, '
            '3))') in str(caught.value)


# ---- what does not fit

def refused(net, state, **options):
    before = values(net)
    with pytest.raises(UserError) as caught:
        load_weights(net, state, source='w.pth', **options)
    assert all((value == before[name]).all() for name, value in values(net).items())
    return str(caught.value)


def test_all_mismatches_stand_in_one_sentence(state):
    wrong = dict(state)
    del wrong['tail.bn.bias']
    wrong['conv2.B02_extra.conv_state.weight'] = np.zeros((2, 3))
    wrong['conv3.B01.conv_m1.conv.weight'] = np.zeros((64, 128, 3, 3))
    assert refused(ready(), wrong) == (
        'w.pth does not fit resnet26: 1 arrays are lacking, 1 unknown, 1 of another shape '
        '(final_bn_beta is lacking; conv2.B02_extra.conv_state.weight is unknown; '
        'conv3.B01.conv_m1.conv.weight is (64, 128, 3, 3), conv3_unit1_conv1_conv_weight is (64, '
        '128, 1, 1)); give the state_dict of a ResNet in the layout of GloRe '
        '(conv2.B01.conv_m1.conv.weight, …), of the same backbone and classes')


def test_ten_of_many_are_written_out(state):
    sentence = refused(ready('a2_resnet26'), state)
    assert ': 80 arrays are lacking, 0 unknown, 0 of another shape (conv3_unit1_a2_' in sentence
    assert sentence.count(' is lacking') == 10 and '; and 70 more); ' in sentence
    assert sentence.endswith("or let them start anew: load_weights(net, path, new=('blocks',))")


@pytest.mark.parametrize('new', [(), ('blocks',)])
def test_another_number_of_classes_is_refused(state, new):
    sentence = refused(ready(classes=7), state, new=new)
    assert sentence.endswith(
        '2 of another shape (classifier.weight is (5, 1024), fc_weight is (7, 1024); '
        'classifier.bias is (5,), fc_bias is (7,)); give `classes` 5, as it has, or let the '
        "classifier start anew: load_weights(net, path, new=('classifier',))")


def test_projections_with_a_batch_norm_of_their_own_are_not_taken_for_shared_ones(state):
    sentence = refused(ready(separate=False), state)
    assert '16 unknown, 0 of another shape (conv2.B01.conv_w1.bn.weight is unknown; ' in sentence
    assert sentence.endswith('have a BatchNorm of their own, and here they share one: call '
                             'gluon_a2.models.convert.separate_projections(net) first')
    nearly = release(tied=True)
    nearly['conv4.B01.conv_w1.bn.bias'] = nearly['conv4.B01.conv_w1.bn.bias'] + np.float32(1e-6)
    assert '1 unknown, 0 of another shape (conv4.B01.conv_w1.bn.bias is unknown)' in refused(
        ready(separate=False), nearly)
    assert 'conv2_unit1_shortcut_bn_gamma is lacking' in refused(ready(), {
        name: value for name, value in state.items() if 'conv_w1.bn' not in name})


@pytest.mark.parametrize('new', ['blocks', ('block',), ('fc',)])
def test_what_may_be_new_is_named_exactly(state, new):
    assert refused(
        ready(), state,
        new=new) == f"`new` is a tuple of 'blocks' and 'classifier', or of none, not {new!r}"


def test_networks_of_others_have_no_such_map(state):
    net = get_model('res3d_resnet18')
    with pytest.raises(UserError, match='^no array of the PyTorch file w.pth is '
                                        'named as one of res3d_resnet18'):
        load_weights(net, state, source='w.pth')


@pytest.mark.parametrize('content', [
    b'', b'<html>404</html>' * 9, b'\x10' + b'\0' * 7 + b'{"a":1}         '])
def test_a_damaged_safetensors_file_is_refused(tmp_path, content):
    path = tmp_path / 'w.safetensors'
    path.write_bytes(content)
    with pytest.raises(UserError, match=f'^{re.escape(str(path))} is not a sound safetensors file '
                                        '.*save it again$'):
        get_model('resnet26', pretrained=path)


def test_types_that_are_no_weights_are_refused(tmp_path):
    path = save({'conv1.conv.weight': np.zeros(3, bool)}, tmp_path / 'w.safetensors')
    with pytest.raises(UserError, match='^conv1.conv.weight in .* is of type BOOL: save it as one '
                                        'of F64, F32'):
        get_model('resnet26', pretrained=path)


@pytest.mark.parametrize('name', ['w.safetensors', 'w.pth'])
def test_a_missing_file_is_named(tmp_path, name):
    with pytest.raises(UserError, match='^the weights .*w.* cannot be read: No such file or '
                                        'directory$'):
        get_model('resnet26', pretrained=tmp_path / name)


def test_a_checkpoint_of_ours_is_no_file_of_weights(tmp_path):
    path = save({'param/conv1_conv_weight': np.zeros(3, 'float32')},
                tmp_path / 'tensors.safetensors')
    with pytest.raises(UserError, match='tensors.safetensors is a checkpoint, not weights alone: '
                                        'export it first'):
        get_model('resnet26', pretrained=path)


# ---- torch.save's files

STUB = '''
import numpy
class Tensor:
    def __init__(self, values): self._values = values
    def is_floating_point(self): return True
    def float(self): return self
    def numpy(self): return self._values
def load(file, **options):
    content = file.read()
    print(sorted(options.items()), content)
    return eval(content)
'''
CODE = '''
import sys
from gluon_a2.errors import UserError
from gluon_a2.models.weights import read_weights
for path in sys.argv[1:]:
    try:
        print({name: value.tolist() for name, value in read_weights(path).items()})
    except UserError as error:
        print(error)
'''


def test_pickles_are_read_as_weights_only(tmp_path):
    """A process in which the package `torch` only tells how it was called, and answers what the
    file says."""
    (tmp_path / 'torch.py').write_text(STUB)
    contents = {'a.pth': '{"epoch": 3, "state_dict": {"module.a.weight": Tensor(numpy.ones(2))}}',
                'b.pt': '{"epoch": 3}', 'c.pth.tar': '1 / 0'}
    for name, content in contents.items():
        (tmp_path / name).write_text(content)
    lines = subprocess.run([sys.executable, '-c', CODE, *contents], cwd=tmp_path,
                           stdout=subprocess.PIPE, check=True, env={
                               'PYTHONPATH': f'{tmp_path}:{Path(__file__).parents[1]}'
                           }, encoding='utf-8', timeout=60).stdout.splitlines()
    calls = [f"[('map_location', 'cpu'), ('weights_only', True)] {content.encode()!r}"
             for content in contents.values()]
    assert lines[::2] == calls
    assert lines[1::2] == [
        "{'a.weight': [1.0, 1.0]}",
        'b.pt holds no state_dict: save one with torch.save(net.state_dict(), path)',
        'c.pth.tar cannot be read as PyTorch weights (division by zero): save its state_dict alone '
        'with torch.save, or as safetensors']


def test_without_pytorch_both_ways_out_are_told(tmp_path, monkeypatch):
    path = tmp_path / 'w.pth'
    path.write_bytes(b'x')
    monkeypatch.setitem(sys.modules, 'torch', None)
    with pytest.raises(
            UserError, match=r'^.*w.pth takes PyTorch to read.*pip install torch. Or save the '
            r'weights .* and give that file: safetensors.torch.save_file\(.*$'):
        get_model('resnet26', pretrained=path)


def test_what_pytorch_itself_saved(tmp_path, state):
    torch = pytest.importorskip('torch')
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in state.items()}
    net = ready()
    for content in (tensors, {
            'epoch': 1, 'state_dict': {f'module.{name}': value for name, value in tensors.items()}
    }):
        torch.save(content, tmp_path / 'w.pth')
        assert load_weights(net, tmp_path / 'w.pth') == []
        assert_close(outputs(net), logits(state, IMAGES))
    torch.save(torch.nn.ReLU(), tmp_path / 'w.pth')  # a pickle that would run code
    with pytest.raises(UserError, match='cannot be read as PyTorch weights'):
        load_weights(net, tmp_path / 'w.pth')
