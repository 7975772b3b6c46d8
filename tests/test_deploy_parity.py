import numpy as np
import pytest
import tiny_bundle

from gluon_a2.deploy import parity
from gluon_a2.deploy.fold import fold
from gluon_a2.deploy.onnx import to_onnx
from gluon_a2.errors import UserError
from gluon_a2.run import network

pytestmark = pytest.mark.usefixtures('tiny_zoo')


@pytest.fixture(scope='module')
def bundle(tiny_zoo):
    return network.from_zoo('a2_tiny', class_names=list('0123456789'), input_size=32)


def changed(bundle, name, by):
    return bundle._replace(
        arguments={**bundle.arguments, name: bundle.arguments[name] + np.float32(by)})


def test_a_gap_by_hand():
    assert parity.relative_gap(np.array([[1.0, -3.5]]), np.array([[1.5, -4.0]])) == 0.125


def test_onnx_is_compared_at_two_sizes_and_batches(bundle):
    gaps = parity.onnx_gaps(bundle, to_onnx(bundle))
    assert [(gap.batch, gap.size) for gap in gaps] == [(1, 32), (8, 32), (1, 46), (8, 46)]
    assert all(0 < gap.relative < 1e-4 for gap in gaps)


def test_another_network_is_refused(bundle):
    other = changed(bundle, 'fc_bias', 0.02 * np.arange(10))
    with pytest.raises(
            UserError,
            match=r'the ONNX file of a2_tiny differs from MXNet by .* at batch 1, size 32. '
            '0.0001 is allowed, so nothing was written'):
        parity.onnx_gaps(bundle, to_onnx(other))


def test_networks_of_one_size_are_compared_at_that_size(bundle):
    fixed = bundle._replace(meta={**bundle.meta, 'fixed': True})
    assert {gap.size for gap in parity.onnx_gaps(fixed, to_onnx(fixed))} == {32}


def test_folding_is_compared_in_float64(bundle):
    wide, narrow = parity.fold_gap(bundle, fold(bundle)[0])
    assert 0 < wide < 1e-5 and wide < narrow < 1e-3


def test_a_folding_that_changes_something_is_refused(bundle):
    with pytest.raises(UserError, match='folding changed the logits of a2_tiny by .*: leave '
                                        'out .fold.'):
        parity.fold_gap(bundle, changed(bundle, 'fc_bias', 0.001 * np.arange(10)))


def test_not_a_number_is_no_agreement():
    bundle = tiny_bundle.make('tiny')
    broken = changed(bundle, 'fc_bias', np.nan)
    with pytest.raises(UserError, match='folding changed'):
        parity.fold_gap(bundle, broken)
