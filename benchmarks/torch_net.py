"""The A²-ResNet of images in PyTorch, from a row of Table 1; needs PyTorch and nothing of ours.

Layers are named so that a weight's name, with underscores for dots, is the one it has in
`gluon_a2`.
"""
from collections import OrderedDict

import torch
from torch import nn

BATCH_NORM = {'bn_weight': 'bn_gamma', 'bn_bias': 'bn_beta'}  # end of a name here, and there


def conv(inner, outer, kernel, stride=1):
    """A convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(inner, outer, kernel, stride, kernel // 2, bias=False)


def bn_relu(channels, **then):
    """BatchNorm, ReLU, and what else is named."""
    return nn.Sequential(
        OrderedDict(bn=nn.BatchNorm2d(channels), relu=nn.ReLU(inplace=True), **then))


class Unit(nn.Module):
    """Pre-activation bottleneck; the projection shares the first BN-ReLU."""

    def __init__(self, inner, width, stride):
        super().__init__()
        outer = 4 * width
        self.bn, self.relu = nn.BatchNorm2d(inner), nn.ReLU(inplace=True)
        self.conv1_conv = conv(inner, width, 1)
        self.conv2 = bn_relu(width, conv=conv(width, width, 3, stride))
        self.conv3 = bn_relu(width, conv=conv(width, outer, 1))
        self.shortcut_conv = conv(inner, outer, 1,
                                  stride) if inner != outer or stride != 1 else None

    def forward(self, x):
        a = self.relu(self.bn(x))
        y = self.conv3(self.conv2(self.conv1_conv(a)))
        return y + (x if self.shortcut_conv is None else self.shortcut_conv(a))


class DoubleAttention(nn.Module):
    """A² block, Eq. 6: x + expand([φ softmax(θ)ᵀ] softmax(ρ))."""

    def __init__(self, channels, inner):
        super().__init__()
        self.phi, self.theta, self.rho = (bn_relu(channels, conv=conv(channels, inner, 1))
                                          for _ in range(3))
        self.expand = bn_relu(inner, conv=conv(inner, channels, 1))

    def forward(self, x):
        phi = self.phi(x)  # N×m×h×w
        gather = self.theta(x).flatten(2).softmax(2)  # N×n×hw
        distribute = self.rho(x).flatten(2).softmax(1)  # N×n×hw
        # N×m×hw · N×hw×n · N×n×hw → N×m×hw
        z = phi.flatten(2) @ gather.transpose(1, 2) @ distribute
        return x + self.expand(z.reshape(phi.shape))


def build(table, classes):
    """The network of `table`, {'stem', 'stages', 'blocks', 'ratio'}: a row of
    `gluon_a2.models.table` as lists."""
    kernel, channels, stride, pool = table['stem']  # each as time, height, width
    layers = OrderedDict(conv1_conv=conv(3, channels, kernel[1], stride[1]),
                         conv1=bn_relu(channels))
    if pool:
        layers['pool1'] = nn.MaxPool2d(pool[1], 2, pool[1] // 2)
    for stage, (width, units, _, stride) in table['stages'].items():
        for unit in range(1, units + 1):
            layers[f'{stage}_unit{unit}'] = Unit(channels, width, stride[1] if unit == 1 else 1)
            channels = 4 * width
            if unit in table['blocks'].get(stage, ()):
                layers[f'{stage}_unit{unit}_a2'] = DoubleAttention(channels,
                                                                   channels // table['ratio'])
    return nn.Sequential(
        OrderedDict(**layers, final=bn_relu(channels), pool=nn.AdaptiveAvgPool2d(1),
                    flatten=nn.Flatten(), fc=nn.Linear(channels, classes)))


def set_weights(net, values):
    """Give `net` all of `values`, {name in gluon_a2: numpy array}; KeyError where one lacks what
    the other has."""
    state = net.state_dict()
    names = {name: _name_there(name) for name in state if not name.endswith('num_batches_tracked')}
    if set(names.values()) != set(values):
        raise KeyError(f'not in both networks: {sorted(set(names.values()) ^ set(values))}')
    net.load_state_dict(
        {**state, **{name: torch.from_numpy(values[there]) for name, there in names.items()}})


def _name_there(name):
    name = name.replace('.', '_')
    for here, there in BATCH_NORM.items():
        if name.endswith(here):
            return name[:-len(here)] + there
    return name
