"""The other systems of Tables 5 and 6: three from the GluonCV zoo, and two that it lacks."""
from __future__ import annotations

from typing import Any

from ..backend import mx
from ..errors import UserError, install_extra
from ..legacy import lent_to_gluoncv
from ..nn.preact import SPACES, FoldedBatchNorm, conv
from .resnet import ResNet
from .table import ZOO, BaselineRow


class BasicBlock(mx.gluon.nn.HybridBlock):
    """Two convolutions with BN; ReLU after the first and after the sum (He et al. 2016)."""

    def __init__(self, in_channels: int, channels: int, stride: int, prefix=None, params=None):
        super().__init__(prefix=prefix, params=params)
        with self.name_scope():
            self.body = mx.gluon.nn.HybridSequential(prefix='')
            self.body.add(
                conv(in_channels, channels, (3, 3, 3), (stride,) * 3, prefix='conv1_conv_'),
                FoldedBatchNorm(in_channels=channels, prefix='conv1_bn_'),
                mx.gluon.nn.Activation('relu', prefix='conv1_relu_'),
                conv(channels, channels, (3, 3, 3), prefix='conv2_conv_'),
                FoldedBatchNorm(in_channels=channels, prefix='conv2_bn_'))
            self.shortcut = None
            if stride != 1 or in_channels != channels:
                self.shortcut = mx.gluon.nn.HybridSequential(prefix='')
                self.shortcut.add(
                    conv(in_channels, channels, (1, 1, 1), (stride,) * 3, prefix='shortcut_conv_'),
                    FoldedBatchNorm(in_channels=channels, prefix='shortcut_bn_'))
            self.relu = mx.gluon.nn.Activation('relu', prefix='relu_')

    def hybrid_forward(self, F, x):
        # N×C×d'×h'×w'
        return self.relu(self.body(x) + (x if self.shortcut is None else self.shortcut(x)))


class Res3D(mx.gluon.nn.HybridBlock):
    """3-D ResNet-18 of basic blocks (Tran et al. 2017, ref. [22]): N×3×8×112×112 → N×classes."""

    def __init__(self, row: BaselineRow, classes: int, size: tuple[int, ...]):
        super().__init__(prefix='')
        self.row, self.classes = row, classes
        with self.name_scope():
            self.features = mx.gluon.nn.HybridSequential(prefix='')
            # N×64×8×56×56
            self.features.add(conv(3, 64, (3, 7, 7), (1, 2, 2), prefix='conv1_conv_'),
                              FoldedBatchNorm(in_channels=64, prefix='conv1_bn_'),
                              mx.gluon.nn.Activation('relu', prefix='conv1_relu_'))
            channels = 64
            for stage, width in enumerate((64, 128, 256, 512), 2):
                for unit in (1, 2):
                    stride = 2 if stage > 2 and unit == 1 else 1
                    self.features.add(
                        BasicBlock(channels, width, stride, prefix=f'conv{stage}_unit{unit}_'))
                    channels = width
            self.pool = SPACES[3].average_pool(prefix='pool_')
            self.fc = mx.gluon.nn.Dense(classes, in_units=512, prefix='fc_')

    def hybrid_forward(self, F, x):
        return self.fc(F.flatten(self.pool(self.features(x))))


class ConvNetLSTM(mx.gluon.nn.HybridBlock):
    """ResNet-50 on every frame, then an LSTM: N×3×T×H×W → N×classes of its last output.

    The baseline of Carreira and Zisserman (ref. [1]), with the paper's image backbone instead of
    Inception-V1.
    """

    def __init__(self, row: BaselineRow, classes: int, size: tuple[int, ...], hidden: int = 512):
        super().__init__(prefix='')
        self.row, self.classes, self._frames = row, classes, size[0]
        with self.name_scope():
            image = ResNet(ZOO['resnet50'], classes)
            self.features, self.pool = image.features, image.pool
            self.lstm = mx.gluon.rnn.LSTM(hidden, layout='NTC', input_size=2048, prefix='lstm_')
            self.fc = mx.gluon.nn.Dense(classes, in_units=hidden, prefix='fc_')

    def hybrid_forward(self, F, x):
        frames = F.reshape(F.transpose(x, (0, 2, 1, 3, 4)), (-3, 0, 0, 0))  # NT×3×H×W
        pooled = F.reshape(self.pool(self.features(frames)), (-1, self._frames, 2048))  # N×T×2048
        states = self.lstm(pooled)  # N×T×hidden
        # N×classes
        return self.fc(F.squeeze(F.slice_axis(states, axis=1, begin=-1, end=None), axis=1))


def gluoncv_network(name: str, source: str, **options: Any) -> mx.gluon.Block:
    """The network `source` of the GluonCV zoo as it comes; UserError without GluonCV."""
    try:
        with lent_to_gluoncv():
            from gluoncv.model_zoo import get_model
    except ImportError as error:
        raise UserError(f'{name} comes from GluonCV: {install_extra("zoo")}') from error
    with mx.name.NameManager():  # counts names from 0, so that every instance has the same
        return get_model(source, pretrained=False, **options)


def downloaded(name: str, source: str) -> str:
    """The .params file of the network `source` of the GluonCV zoo, downloaded if it is not there;
    UserError where there are none or no network connection."""
    try:
        with lent_to_gluoncv():
            from gluoncv.model_zoo.model_store import get_model_file
    except ImportError as error:
        raise UserError(f'{name} comes from GluonCV: {install_extra("zoo")}') from error
    try:
        return get_model_file(source)
    except (KeyError, ValueError) as error:
        raise UserError(f'GluonCV has no weights of {name}: give a file as `pretrained`') from error
    except (OSError, RuntimeError) as error:  # also those of requests and of a server's answer
        raise UserError(f'the weights of {name} cannot be downloaded ({type(error).__name__}): '
                        'give their file as `pretrained`, or try again where there is a network '
                        'connection') from error


def uninitialized(net: mx.gluon.Block) -> mx.gluon.Block:
    """`net` without values: `initialize` would leave those that GluonCV gave as they are."""
    for parameter in net.collect_params().values():
        parameter._data, parameter._grad, parameter._deferred_init = None, None, ()
    return net


def from_gluoncv(row: BaselineRow, classes: int,
                 size: tuple[int, ...] | None = None) -> mx.gluon.Block:
    """A network of the GluonCV zoo that can be trained on a CPU."""
    assert row.source is not None
    net = gluoncv_network(row.name, row.source, nclass=classes, pretrained_base=False)
    net.apply(_fold)
    net.row, net.classes = row, classes
    return uninitialized(net)


def _fold(block):
    """Make a BatchNorm a `FoldedBatchNorm`, with the parameters it has."""
    if type(block) is mx.gluon.nn.BatchNorm:
        block.__class__ = FoldedBatchNorm
