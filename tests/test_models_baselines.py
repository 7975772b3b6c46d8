"""The other systems of Tables 5 and 6: each can be trained, exported and loaded, by the same means
as ours."""
import loading
import numpy as np
import pytest

from gluon_a2.backend import mx
from gluon_a2.cost import count, count_network
from gluon_a2.errors import UserError
from gluon_a2.models import get_model, list_baselines, list_models
from gluon_a2.models.table import BASELINE_ROWS
from gluon_a2.nn import FoldedBatchNorm
from gluon_a2.paper.costs import BASELINES

SMALL = {'i3d_inceptionv1': (8, 32, 32), 'r2plus1d_resnet34': (8, 16, 16),
         'res3d_resnet18': (9, 17, 19), 'convnet_lstm': (3, 32, 32)}


def ready(name, size, classes=5):
    net = get_model(name, classes=classes, input_size=size)
    mx.random.seed(1)
    net.initialize(mx.init.Xavier())
    return net


def test_these_are_all_the_baselines_of_tables_5_and_6():
    assert {baseline.model for baseline in BASELINES} == set(
        list_baselines()) and not set(list_baselines()) & set(list_models())


@pytest.mark.parametrize('name', sorted(SMALL))
def test_a_step_of_training_on_a_cpu_changes_every_weight(name):
    loading.gluoncv()
    net = ready(name, SMALL[name])
    net.hybridize(static_alloc=True, static_shape=True)
    x = mx.nd.random.normal(shape=(2, 3, *SMALL[name]))
    before = {key: p.data().asnumpy() for key, p in net.collect_params().items()}
    trainer = mx.gluon.Trainer(net.collect_params(), 'sgd', {'learning_rate': 0.1})
    with mx.autograd.record():
        loss = mx.gluon.loss.SoftmaxCrossEntropyLoss()(net(x), mx.nd.array([1, 4]))
    loss.backward()
    trainer.step(2)
    mx.nd.waitall()
    assert np.isfinite(loss.asnumpy()).all()
    for key in (key for key, p in net.collect_params().items()
                if key.endswith('weight') and p.grad_req != 'null'):
        assert (net.collect_params()[key].data().asnumpy() != before[key]).any(), key


# R(2+1)D is built as I3D is, and takes ten times as long
@pytest.mark.parametrize('name', sorted(SMALL.keys() - {'r2plus1d_resnet34'}))
def test_two_instances_have_the_same_names_and_their_symbol_computes_the_same(name, tmp_path):
    loading.gluoncv()
    net, other = ready(name, SMALL[name]), get_model(name, classes=5, input_size=SMALL[name])
    assert list(net.collect_params()) == list(other.collect_params())
    symbol = net(mx.sym.var('data'))
    assert set(symbol.list_inputs()) == {'data', *net.collect_params()}
    block = mx.gluon.SymbolBlock(symbol, mx.sym.var('data', dtype='float32'))
    block.collect_params().load_dict({key: p.data()
                                      for key, p in net.collect_params().items()}, ctx=mx.cpu())
    x = mx.nd.random.normal(shape=(2, 3, *SMALL[name]))
    np.testing.assert_allclose(block(x).asnumpy(), net(x).asnumpy(), rtol=1e-4, atol=1e-5)


def test_the_last_layer_is_the_one_the_row_says():
    loading.gluoncv()
    for name, row in BASELINE_ROWS.items():
        few, many = (get_model(name, classes=classes).collect_params() for classes in (5, 7))
        changed = {key for key in few if few[key].shape != many[key].shape}
        assert len(changed) == 2 and all(key.startswith(row.classifier) for key in changed)


def test_the_lstm_reads_the_frames_in_order():
    net = ready('convnet_lstm', (3, 32, 32))
    x = mx.nd.random.normal(shape=(1, 3, 3, 32, 32))
    assert np.abs(net(x).asnumpy() - net(mx.nd.flip(x, axis=2)).asnumpy()).max() > 1e-4


def test_folding_the_batch_norms_changes_no_number():
    zoo = loading.gluoncv('gluoncv.model_zoo')
    with mx.name.NameManager():
        plain = zoo.get_model('i3d_inceptionv1_kinetics400', nclass=5, pretrained=False,
                              pretrained_base=False)
    net = ready('i3d_inceptionv1', SMALL['i3d_inceptionv1'])
    for key, parameter in plain.collect_params().items():
        parameter.set_data(net.collect_params()[key].data())
    x = mx.nd.random.normal(shape=(1, 3, *SMALL['i3d_inceptionv1']))
    np.testing.assert_allclose(net(x).asnumpy(), plain(x).asnumpy(), rtol=1e-4, atol=1e-5)
    kinds = []
    net.apply(lambda block: kinds.append(type(block)))
    assert FoldedBatchNorm in kinds and mx.gluon.nn.BatchNorm not in kinds


def test_r2plus1d_with_a_middle_width_for_each_convolution_is_what_the_paper_prints():
    """Tran et al. 2018: M = ⌊9·3·in·out / (9·in + 3·out)⌋, so that (2+1)-D has as many values as
    3-D."""
    loading.gluoncv()
    extra = 0
    for width, positions in ((128, 16 * 28 * 28), (256, 8 * 14 * 14), (512, 4 * 7 * 7)):
        shared, own = (27 * w * width // (9 * w + 3 * width) for w in (width // 2, width))
        extra += (own - shared) * (9 + 3) * width * positions
    assert extra == pytest.approx(1.95e9, rel=0.01)
    total = count_network(get_model('r2plus1d_resnet34'), (32, 112, 112)).flops + extra
    assert total == pytest.approx(152.4e9, abs=0.05e9)


def test_res3d_by_hand():
    """Multiply-adds of each convolution, kernel·in·out·positions; and the 33.2 M parameters that
    Tran et al. print."""
    stages = [(64, 64, 8 * 56 * 56), (64, 128, 4 * 28 * 28), (128, 256, 2 * 14 * 14),
              (256, 512, 7 * 7)]
    flops = 3 * 49 * 3 * 64 * 8 * 56 * 56 + 512 * 400
    for before, width, positions in stages:
        flops += positions * (27 * before * width + 3 * 27 * width * width +
                              (before * width if before != width else 0))
    cost = count_network(get_model('res3d_resnet18'), (8, 112, 112))
    assert cost.flops == flops
    assert cost.trained == pytest.approx(33.2e6, rel=0.01)


@pytest.mark.parametrize('layers, ways', [(1, 1), (2, 1), (2, 2)])
def test_an_lstms_cost_by_hand(layers, ways):
    """Four gates, each a matrix of the input and one of the state, for each step."""
    time, batch, channels, hidden = 5, 3, 7, 11
    lstm = mx.gluon.rnn.LSTM(hidden, layers, input_size=channels, bidirectional=ways == 2)
    cost = count(lstm(mx.sym.var('data')), data=(time, batch, channels))
    widths = [channels] + [ways * hidden] * (layers - 1)
    assert cost.flops == sum(time * batch * ways * 4 * (w * hidden + hidden * hidden)
                             for w in widths)
    assert cost.trained == sum(ways * (4 * (w * hidden + hidden * hidden) + 8 * hidden)
                               for w in widths)


@pytest.mark.parametrize('name, options, sentence', [
    ('c3d', {'input_size': 64}, 'c3d takes inputs of 16×112×112 only, not 16×64×64'),
    ('res3d_resnet18', {'input_size': (8, 8, 8)}, 'its total stride is 8×16×16'),
    ('res3d_resnet18', {'blocks': {'conv3': (1,)}}, '^`blocks` has no effect on res3d_resnet18: '),
    ('convnet_lstm', {'dropout': 0.5}, '^`dropout` has no effect on convnet_lstm: '),
    ('convnet_lstm', {'association': 'auto'}, '^`association` has no effect on convnet_lstm: ')])
def test_what_they_cannot_do_is_said(name, options, sentence):
    with pytest.raises(UserError, match=sentence):
        get_model(name, **options)


def test_unknown_names_list_them_too():
    with pytest.raises(ValueError, match='did you mean c3d.*: choose one of '
                                         'a2_resnet152.*convnet_lstm'):
        get_model('c3dd')
