"""Weights of others, decoded and laid out anew, and what is said of scores."""
import numpy as np
import pytest
from loading import load

from gluon_a2.backend import mx
from gluon_a2.errors import UserError

weights = load('benchmarks/real_weights.py')
photographs = load('benchmarks/real_photographs.py')


def coded(values, bias, codebook):
    """A layer as Deep Compression writes it, weight by weight: zeros count up to 15, and a filler
    stands where more come."""
    gaps, codes, run = [], [], 0
    for value in values.reshape(-1):
        if value == 0 and run < 15:
            run += 1
            continue
        gaps.append(run)
        codes.append(int(np.flatnonzero(codebook == value)[0]))
        run = 0
    halves = gaps + [0] * (len(gaps) % 2)
    packed = [low + 16 * high for low, high in zip(halves[::2], halves[1::2])]
    return len(codes), b''.join((codebook.astype('<f4').tobytes(), bias.astype('<f4').tobytes(),
                                 bytes(codes), bytes(packed)))


@pytest.fixture
def layers():
    """Two layers of few weights, in their codebook's values."""
    draw = np.random.RandomState(3)
    codebook = np.concatenate([[0], draw.normal(size=255)]).astype(np.float32)
    shapes = (5, 3, 3, 3), (2, 5, 1, 1)
    values = [np.where(draw.rand(*shape) < 0.1, codebook[draw.randint(1, 256, shape)], 0)
              for shape in shapes]
    values[0].reshape(-1)[40:80] = 0  # more zeros than one gap holds
    values[0].reshape(-1)[-1] = codebook[7]
    return values, [draw.normal(size=5), draw.normal(size=2)], codebook


def test_a_coded_file_gives_back_its_weights(layers, tmp_path):
    values, biases, codebook = layers
    counts, parts = zip(*(coded(value, bias, codebook) for value, bias in zip(values, biases)))
    path = tmp_path / 'coded.net'
    path.write_bytes(np.array(counts, '<u4').tobytes() + b''.join(parts))
    shapes = [array.shape for pair in zip(values, biases) for array in pair]
    for found, expected in zip(weights.decode(path, shapes),
                               [array for pair in zip(values, biases) for array in pair]):
        np.testing.assert_array_equal(found, expected.astype(np.float32))
    path.write_bytes(path.read_bytes() + b'x')
    with pytest.raises(UserError, match='coded.net has .* bytes, and SqueezeNet 1.0 takes'):
        weights.decode(path, shapes)


@pytest.mark.parametrize('kernel', [3, 5])
def test_a_stride_of_two_pads_on_the_far_side(kernel):
    """As TensorFlow does, and PyTorch's copy of it by a padding of its own: float64 sums here."""
    draw = np.random.RandomState(kernel)
    weight, x = draw.normal(size=(kernel, kernel)), draw.normal(size=(8, 8))
    block = weights.ConvBN(1, kernel, 2, act=False)
    block.initialize()
    block(mx.nd.zeros((1, 1, 8, 8)))
    parameter = next(iter(block[0].collect_params().values()))
    parameter.set_data(mx.nd.array(np.pad(weight, ((1, 0), (1, 0)))[None, None]))
    total = kernel - 2
    padded = np.pad(x, (total // 2, total - total // 2))
    expected = [[(padded[i:i + kernel, j:j + kernel] * weight).sum() for j in range(0, 8, 2)]
                for i in range(0, 8, 2)]
    found = block[0](mx.nd.array(x[None, None]))[0, 0].asnumpy()
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_lite0_has_the_arrays_of_the_package():
    """Of torch's names, in the order of our layers; 4.65 M trained values, as published."""
    net, names = weights.lite0(), list(weights.lite0_names())
    parameters = list(net.collect_params().values())
    assert len(parameters) == len(names) == len(set(names)) == 247
    for parameter, name in zip(parameters, names):
        if 'running' in name or '_bn' not in name:
            assert parameter.name.endswith(name.rpartition('.')[2])
    grown = sum(parameter.shape[0] * parameter.shape[1] * (2 * parameter.shape[2] - 1)
                for parameter in parameters
                if len(parameter.shape) == 4 and parameter.shape[2] in (4, 6))
    trained = sum(np.prod(p.shape) for p in parameters if p.grad_req != 'null')
    assert trained - grown == 4_652_008


@pytest.mark.parametrize('share, count, low, high', [
    (0.5, 100, 0.4038, 0.5962), (1.0, 10, 0.7225, 1.0), (0.0, 10, 0.0, 0.2775)])
def test_intervals_are_wilsons(share, count, low, high):
    assert photographs.wilson(share, count) == pytest.approx((low, high), abs=1e-4)


def test_photographs_are_laid_out_by_class(tmp_path):
    """What ImageNet's networks were trained on stays apart from its validation set."""
    samples, imagenette = tmp_path / 'samples', tmp_path / 'imagenette'
    samples.mkdir()
    names = [f'n{i:08}' for i in range(1000)]
    for name in names:
        (samples / f'{name}_thing.JPEG').touch()
    for name in names[:10]:
        for part, files in (('train', ['ILSVRC2012_val_1', f'{name}_1', f'{name}_2']),
                            ('val', ['ILSVRC2012_val_2', f'{name}_3'])):
            (imagenette / part / name).mkdir(parents=True)
            for file in files:
                (imagenette / part / name / f'{file}.JPEG').touch()

    class Given:
        per_class = 1

    Given.samples, Given.imagenette = samples, imagenette
    for _ in range(2):  # what is there already stays
        folders, classes = photographs.lay_out(Given, tmp_path / 'work')
    assert classes == names

    def files(name, part, one=names[0]):
        return sorted(path.name for path in (folders[name] / part / one).iterdir())

    assert files('samples', 'val') == [f'{names[0]}_thing.JPEG']
    assert files('validation', 'val') == ['ILSVRC2012_val_1.JPEG', 'ILSVRC2012_val_2.JPEG']
    assert files('tune', 'train') == [f'{names[0]}_1.JPEG']
    assert files('tune', 'val') == files('validation', 'val')
    (samples / f'{names[3]}_thing.JPEG').unlink()
    with pytest.raises(UserError, match='of 999 classes and .* of 10, not of 1000 and 10'):
        photographs.lay_out(Given, tmp_path / 'work')
