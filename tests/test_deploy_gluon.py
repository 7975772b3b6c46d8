"""Any Gluon network as a bundle."""
import numpy as np
import pytest

from gluon_a2 import data
from gluon_a2.backend import mx
from gluon_a2.deploy import BundleError, Classifier, read_bundle, write_bundle
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.errors import UserError

NAMES = ['cat', 'dog', 'owl']


def small(classes=3, dims=2):
    net, layers = mx.gluon.nn.HybridSequential(), mx.gluon.nn
    conv, pool = ((layers.Conv2D, layers.GlobalAvgPool2D) if dims == 2 else
                  (layers.Conv3D, layers.GlobalAvgPool3D))
    net.add(conv(4, 3, in_channels=3), pool(), layers.Flatten(), layers.Dense(classes, in_units=4))
    net.initialize()
    return net


def test_the_preprocessing_is_what_the_files_say(tmp_path):
    theirs = data.Preprocessing(40, 0.8, (120, 110, 100), (0.01, 0.02, 0.03), 'bilinear')
    write_bundle(from_gluon(small(), 'small', NAMES, theirs), tmp_path / 'small')
    assert Classifier(tmp_path / 'small').preprocessing == theirs
    assert read_bundle(tmp_path / 'small').meta['scale'] == [0.01, 0.02, 0.03]


def test_a_video_network_is_written_with_all_that_reads_it(tmp_path):
    theirs = data.ClipPreprocessing(16, frames=4, frame_stride=2, views=3)
    write_bundle(from_gluon(small(dims=3), 'small', NAMES, theirs), tmp_path / 'small')
    net = Classifier(tmp_path / 'small')
    assert (net.frames, net.preprocessing) == (4, theirs)


def test_a_lone_scale_of_older_files_is_for_all_channels():
    bundle = from_gluon(small(), 'small', NAMES, data.Preprocessing(40))
    old = bundle._replace(meta={**bundle.meta, 'scale': 0.5})
    assert Classifier(old).preprocessing.scale == (0.5, 0.5, 0.5)


def test_video_metadata_that_lacks_its_views(tmp_path):
    bundle = from_gluon(small(dims=3), 'small', NAMES, data.ClipPreprocessing(16, frames=4))
    del bundle.meta['views']
    write_bundle(bundle, tmp_path / 'small')
    with pytest.raises(BundleError, match='must give views'):
        Classifier(tmp_path / 'small')


@pytest.mark.parametrize('classes, names, preprocessing, sentence', [
    (3, NAMES, (3, 32, 32), '`preprocessing` must be a Preprocessing such as Preprocessing.224.'),
    (3, NAMES[:2], data.Preprocessing(32), 'small gives 3 logits, and `classes` names 2'),
    (1, NAMES[:1], data.Preprocessing(32), 'a name for each, and two or more')])
def test_what_does_not_fit(classes, names, preprocessing, sentence):
    with pytest.raises(UserError, match=sentence):
        from_gluon(small(classes), 'small', names, preprocessing)


def test_a_misspelt_argument_is_an_error():
    with pytest.raises(TypeError, match='scal'):
        from_gluon(small(), 'small', NAMES, data.Preprocessing(32), scal=1)


def test_mixed_files_of_two_exports(tmp_path):
    for name, classes in (('a', NAMES), ('b', ['x', 'y', 'z'])):
        (tmp_path / name).mkdir()
        write_bundle(from_gluon(small(), 'net', classes, data.Preprocessing(32)),
                     tmp_path / name / 'net')
    (tmp_path / 'b' / 'net-0000.params').replace(tmp_path / 'a' / 'net-0000.params')
    with pytest.raises(BundleError, match='It is damaged, or of another export. Copy all files'):
        Classifier(tmp_path / 'a' / 'net')


def test_memory_is_that_of_the_arrays_alive_together():
    """Input 3×9×9 and convolution 4×7×7, both float32: later arrays are smaller."""
    meta = from_gluon(small(), 'small', NAMES, data.Preprocessing(9)).meta
    assert meta['memory'] == 4 * (3 * 9 * 9 + 4 * 7 * 7)
    pixels = np.zeros((1, 3, 9, 9), np.float32)
    assert Classifier(from_gluon(small(), 'small', NAMES, data.Preprocessing(9))).logits(
        pixels).shape == (1, 3)
