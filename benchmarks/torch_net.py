"""The A²-ResNet of images, and the plain ResNet of video, in PyTorch, from a row of Table 1; needs
PyTorch and nothing of ours.

Layers are named so that a weight's name, with underscores for dots, is the one it has in
`gluon_a2`.
"""
from collections import OrderedDict

import torch
from torch import nn

BATCH_NORM = {'bn_weight': 'bn_gamma', 'bn_bias': 'bn_beta'}  # end of a name here, and there


class Space:
    """Convolution and pooling of images (2 axes) or video (3)."""

    def __init__(self, dims):
        self.dims, self.point = dims, (1,) * dims
        self._conv, self.norm, self._pool, self.average = (
            (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d, nn.AdaptiveAvgPool2d) if dims == 2 else
            (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d, nn.AdaptiveAvgPool3d))

    def cut(self, sizes):
        """(time, height, width) → the axes there are."""
        return tuple(sizes)[-self.dims:]

    def conv(self, inner, outer, kernel, stride=None):
        """A convolution without bias that keeps the size at stride 1."""
        return self._conv(inner, outer, kernel, stride or self.point,
                          tuple(side // 2 for side in kernel), bias=False)

    def bn_relu(self, channels, **then):
        """BatchNorm, ReLU, and what else is named."""
        return nn.Sequential(
            OrderedDict(bn=self.norm(channels), relu=nn.ReLU(inplace=True), **then))

    def max_pool(self, kernel):
        """Of a stem."""
        return self._pool(kernel, 2, tuple(side // 2 for side in kernel))


class Unit(nn.Module):
    """Pre-activation bottleneck; the projection shares the first BN-ReLU."""

    def __init__(self, space, inner, width, kernel, stride):
        super().__init__()
        outer, point = 4 * width, space.point
        self.bn, self.relu = space.norm(inner), nn.ReLU(inplace=True)
        self.conv1_conv = space.conv(inner, width, point)
        self.conv2 = space.bn_relu(width, conv=space.conv(width, width, kernel, stride))
        self.conv3 = space.bn_relu(width, conv=space.conv(width, outer, point))
        self.shortcut_conv = (None if inner == outer and stride == point else
                              space.conv(inner, outer, point, stride))

    def forward(self, x):
        a = self.relu(self.bn(x))
        y = self.conv3(self.conv2(self.conv1_conv(a)))
        return y + (x if self.shortcut_conv is None else self.shortcut_conv(a))


class DoubleAttention(nn.Module):
    """A² block, Eq. 6: x + expand([φ softmax(θ)ᵀ] softmax(ρ))."""

    def __init__(self, space, channels, inner):
        super().__init__()
        self.phi, self.theta, self.rho = (
            space.bn_relu(channels, conv=space.conv(channels, inner, space.point))
            for _ in range(3))
        self.expand = space.bn_relu(inner, conv=space.conv(inner, channels, space.point))

    def forward(self, x):
        phi = self.phi(x)  # N×m×h×w
        gather = self.theta(x).flatten(2).softmax(2)  # N×n×hw
        distribute = self.rho(x).flatten(2).softmax(1)  # N×n×hw
        # N×m×hw · N×hw×n · N×n×hw → N×m×hw
        z = phi.flatten(2) @ gather.transpose(1, 2) @ distribute
        return x + self.expand(z.reshape(phi.shape))


def build(row, classes, dims=2):
    """The network of a row, which `mxnet_steps.row_of` gives, for images or video (`dims` 3)."""
    space = Space(dims)
    kernel, channels, stride, pool = row['stem']  # each as time, height, width
    layers = OrderedDict(conv1_conv=space.conv(3, channels, space.cut(kernel), space.cut(stride)),
                         conv1=space.bn_relu(channels))
    if pool:
        layers['pool1'] = space.max_pool(space.cut(pool))
    for stage, (width, units, times, stride) in row['stages'].items():
        for unit in range(units):
            layers[f'{stage}_unit{unit + 1}'] = Unit(
                space, channels, width, space.cut((times[unit % len(times)], 3, 3)),
                space.point if unit else space.cut(stride))
            channels = 4 * width
            if unit + 1 in row['blocks'].get(stage, ()):
                layers[f'{stage}_unit{unit + 1}_a2'] = DoubleAttention(space, channels,
                                                                       channels // row['ratio'])
    return nn.Sequential(
        OrderedDict(**layers, final=space.bn_relu(channels), pool=space.average(1),
                    flatten=nn.Flatten(), fc=nn.Linear(channels, classes)))


def training(net, inputs, rate, momentum, bf16=False):
    """A function that takes one step: forward, backward, update with Nesterov's momentum."""
    update = torch.optim.SGD(net.parameters(), rate, momentum, nesterov=True)
    labels, criterion = torch.zeros(len(inputs), dtype=torch.long), nn.CrossEntropyLoss()

    def step():
        update.zero_grad()
        with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
            loss = criterion(net(inputs), labels)
        loss.backward()
        update.step()
    return step


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
