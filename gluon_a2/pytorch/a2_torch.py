"""A²-Nets (Chen et al., NeurIPS 2018) in PyTorch 2: the networks of `gluon_a2` in one file.

It needs PyTorch alone, and safetensors to read and write weights.

    net = network('a2_resnet50', classes=10)         # a new one, N×3×H×W → N×10
    net, meta = load('a2_resnet50.safetensors')      # one that was exported by gluon_a2
    save(net, 'trained.safetensors', meta)           # what gluon_a2 reads back

With underscores for dots, and gamma and beta for a BatchNorm's weight and bias, the names of
parameters are those of gluon_a2.
"""
import json
import re
from collections import OrderedDict
from typing import Any, NamedTuple, Optional

import torch
from torch import nn

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
MAX_POOL = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
MEAN = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}


# ---- Table 1

class Row(NamedTuple):
    """A column of Table 1, or a network like it. Kernels and strides are (time, height, width);
    images have no time.

    The stem is (kernel, channels, stride, pool or None). A stage is (width, units, middle kernels
    through time, which alternate from unit to unit, stride of the first unit).
    """
    stem: tuple
    conv2: tuple
    conv3: tuple
    conv4: tuple
    conv5: tuple
    blocks: dict  # behind which units A² and non-local blocks are
    ratio: int  # a stage's channels over their inner widths
    unit: str = 'bottleneck'
    local: tuple = ()  # stages whose middle kernels are 1×1


TABLE = {
    'resnet26': Row(((3, 5, 5), 16, (1, 2, 2), None),
                    (32, 2, (3,), (2, 1, 1)),
                    (64, 2, (3,), (1, 2, 2)),
                    (128, 2, (3,), (1, 2, 2)),
                    (256, 2, (3,), (1, 2, 2)), {'conv3': (1, 2), 'conv4': (1, 2)}, 4),
    'resnet29': Row(((3, 5, 5), 16, (1, 2, 2), None),
                    (32, 2, (3,), (2, 1, 1)),
                    (64, 2, (3,), (1, 2, 2)),
                    (128, 3, (3,), (1, 2, 2)),
                    (256, 2, (3,), (1, 2, 2)), {'conv3': (1, 2), 'conv4': (1, 2)}, 4),
    'resnet50': Row(((3, 5, 5), 32, (1, 2, 2), (1, 3, 3)),
                    (64, 3, (3,), (1, 1, 1)),
                    (128, 4, (3, 1), (2, 2, 2)),
                    (256, 6, (3, 1), (1, 2, 2)),
                    (512, 3, (1, 3), (1, 2, 2)), {'conv3': (1, 3), 'conv4': (1, 3, 5)}, 2),
    'resnet152': Row(((3, 5, 5), 32, (1, 2, 2), (1, 3, 3)),
                     (64, 3, (3,), (1, 1, 1)),
                     (128, 8, (3, 1), (2, 2, 2)),
                     (256, 36, (3, 1), (1, 2, 2)),
                     (512, 3, (1, 3), (1, 2, 2)), {'conv3': (1, 3), 'conv4': (1, 3, 5)}, 2),
    'mfnet': Row(((3, 5, 5), 16, (1, 2, 2), (1, 3, 3)),
                 (96, 3, (3,), (2, 1, 1)),
                 (192, 4, (3,), (1, 2, 2)),
                 (384, 6, (3,), (1, 2, 2)),
                 (768, 3, (3,), (1, 2, 2)), {'conv3': (1, 3), 'conv4': (1, 3, 5)}, 4,
                 'multi-fiber')}
TABLE['bagnet26'] = TABLE['resnet26']._replace(local=('conv3', 'conv4', 'conv5'))
STAGES = ('conv2', 'conv3', 'conv4', 'conv5')


def network(name: str, classes: Optional[int] = None, blocks: Optional[dict] = None,
            ratio: Optional[int] = None, m: Optional[int] = None, n: Optional[int] = None,
            association: str = 'left', softmax: str = 'both', identity: bool = False,
            dropout: float = 0.0) -> nn.Module:
    """A new network, such as resnet50, a2_resnet50, nl_resnet26_3d or se_mfnet.

    `blocks` places them elsewhere, as {'conv4': (1, 2)}: behind these units, or for se, in them.
    `identity` starts them as identities. `ratio`, `m`, `n`, `association` ('left' is Eq. 6, 'right'
    Eq. 7) and `softmax` ('both', 'gather', 'distribute' or 'none') are those of the blocks.
    """
    found = re.fullmatch(r'(?:(a2|nl|se)_)?(.+?)(_3d)?', name)
    if found is None or found[2] not in TABLE:
        raise ValueError(f'unknown network {name!r}: choose one of {", ".join(TABLE)}, with a2_, '
                         'nl_ or se_ in front, or _3d behind for video')
    kind, row, dims = found[1], TABLE[found[2]], 3 if found[3] else 2
    if blocks is None:
        blocks = row.blocks if kind != 'se' else {
            stage: range(1, getattr(row, stage)[1] + 1) for stage in STAGES}

    def space(numbers):
        return list(numbers)[-dims:]

    kernel, channels, stride, pool = row.stem
    described: dict = {
        'stem': {'channels': channels, 'kernel': space(kernel), 'stride': space(stride),
                 'pool': space(pool) if pool else None},
        'unit': row.unit, 'units': {}, 'blocks': {}, 'classes': classes or {2: 1000, 3: 400}[dims],
        'dropout': dropout}
    for stage in STAGES:
        width, units, times, stride = getattr(row, stage)
        side = 1 if stage in row.local else 3
        for unit in range(1, units + 1):
            described['units'][f'{stage}_unit{unit}'] = {
                'width': width, 'kernel': space((times[(unit - 1) % len(times)], side, side)),
                'stride': space(stride if unit == 1 else (1, 1, 1))}
            if kind and unit in blocks.get(stage, ()):
                outer = UNITS[row.unit].expansion * width
                inner = max(1, outer // (16 if kind == 'se' else ratio or row.ratio))
                described['blocks'][f'{stage}_unit{unit}_{kind}'] = {
                    'a2': {'m': m or inner, 'n': n or inner, 'association': association,
                           'softmax': softmax},
                    'nl': {'width': inner},
                    'se': {'width': inner, 'scale': 2.0 if identity else 1.0}}[kind]
    net = build(described)
    for weight_name, weight in net.named_parameters():
        if identity and weight_name.endswith(('expand.conv.weight', 'excite_conv.weight')):
            nn.init.zeros_(weight)
    return net


# ---- BN-ReLU-Conv

class BatchNorm(nn.BatchNorm2d):
    """BatchNorm over any number of space axes, whose statistics run as MXNet's do on a CPU.

    The variance is Σ/n, where PyTorch's is Σ/(n−1). 0.9 of the old is kept, in float32.
    """

    def __init__(self, channels: int):
        super().__init__(channels, momentum=1 - 0.8999999761581421)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        variance = self.running_var.clone() if self.training else self.running_var
        output = nn.functional.batch_norm(input, self.running_mean, variance, self.weight,
                                          self.bias, self.training, self.momentum, self.eps)
        if self.training:
            kept = (1 - self.momentum) * self.running_var
            share = input.shape[1] / input.numel()                   # 1/n
            self.running_var.copy_(variance - (variance - kept) * share)
        return output


def conv(inner: int, outer: int, kernel: Any, stride: Any = 1, bias: bool = False,
         groups: int = 1) -> nn.Module:
    """A convolution that keeps the size at stride 1."""
    return CONV[len(kernel)](inner, outer, kernel, stride, [side // 2 for side in kernel],
                             groups=groups, bias=bias)


def bn_relu(channels: int, **then: Any) -> nn.Sequential:
    """BatchNorm, ReLU, and what else is named."""
    return nn.Sequential(OrderedDict(bn=BatchNorm(channels), relu=nn.ReLU(inplace=True), **then))


def pointwise(inner: int, outer: int, dims: int) -> nn.Sequential:
    """BN-ReLU-Conv with a kernel of 1."""
    return bn_relu(inner, conv=conv(inner, outer, (1,) * dims))


class Unit(nn.Module):
    """Pre-activation bottleneck: 1×1, k×3×3, 1×1; the projection shares the first BN-ReLU."""
    expansion = 4

    def __init__(self, inner: int, width: int, kernel: Any, stride: Any,
                 se: Optional[dict] = None):
        super().__init__()
        outer, point = self.expansion * width, (1,) * len(kernel)
        self.bn, self.relu = BatchNorm(inner), nn.ReLU(inplace=True)
        self.conv1_conv = conv(inner, width, point)
        self.conv2 = bn_relu(width, conv=conv(width, width, kernel, stride))
        self.conv3 = bn_relu(width, conv=conv(width, outer, point))
        self.se = None if se is None else SqueezeExcite(outer, len(kernel), **se)
        self.shortcut_conv = (conv(inner, outer, point, stride)
                              if inner != outer or max(stride) > 1 else None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.relu(self.bn(x))                                    # N×inner×d×h×w
        y = self.conv3(self.conv2(self.conv1_conv(a)))               # N×outer×d'×h'×w'
        if self.se is not None:
            y = self.se(y)
        return y + (x if self.shortcut_conv is None else self.shortcut_conv(a))


class MultiFiber(nn.Module):
    """Unit of multi-fiber networks (Chen et al., ECCV 2018): x + mix(x), then two convolutions in
    16 groups. A stage's first unit has one of these, and a projection with its own BN-ReLU."""
    expansion = 1

    def __init__(self, inner: int, width: int, kernel: Any, stride: Any,
                 se: Optional[dict] = None):
        super().__init__()
        point, first = (1,) * len(kernel), inner != width or max(stride) > 1
        last = point if first else (*point[2:], 3, 3)
        self.mix1 = pointwise(inner, width // 4, len(kernel))
        self.mix2 = pointwise(width // 4, inner, len(kernel))
        self.conv2 = bn_relu(inner, conv=conv(inner, width, kernel, stride, groups=16))
        self.conv3 = bn_relu(width, conv=conv(width, width, last, groups=1 if first else 16))
        self.se = None if se is None else SqueezeExcite(width, len(kernel), **se)
        self.shortcut_bn = BatchNorm(inner) if first else None
        self.shortcut_conv = conv(inner, width, point, stride) if first else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv3(self.conv2(x + self.mix2(self.mix1(x))))      # N×width×d'×h'×w'
        if self.se is not None:
            y = self.se(y)
        return y + (x if self.shortcut_conv is None else
                    self.shortcut_conv(self.shortcut_bn(x).relu()))


UNITS = {'bottleneck': Unit, 'multi-fiber': MultiFiber}


# ---- blocks

class DoubleAttention(nn.Module):
    """x + expand(Z), Z = [φ softmax(θ)ᵀ] softmax(ρ) (Eq. 6) or φ [softmax(θ)ᵀ softmax(ρ)] (7).

    `softmax` says which there are; in place of another the values are divided by their number.
    """

    def __init__(self, channels: int, dims: int, m: int, n: int, association: str = 'left',
                 softmax: str = 'both'):
        super().__init__()
        self.association = association
        self.gather, self.distribute = (softmax in ('both', side)
                                        for side in ('gather', 'distribute'))
        self.phi = pointwise(channels, m, dims)
        self.theta = pointwise(channels, n, dims)
        self.rho = pointwise(channels, n, dims)
        self.expand = pointwise(m, channels, dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        phi = self.phi(x)                                            # N×m×d×h×w
        a = phi.flatten(2)                                           # N×m×dhw
        b, v = self.theta(x).flatten(2), self.rho(x).flatten(2)      # N×n×dhw
        b = b.softmax(2) if self.gather else b / b.shape[2]          # over positions
        v = v.softmax(1) if self.distribute else v / v.shape[1]      # over descriptors
        z = ((a @ b.transpose(1, 2)) @ v if self.association == 'left'  # N×m×n, then N×m×dhw
             else a @ (b.transpose(1, 2) @ v))                       # N×dhw×dhw, then N×m×dhw
        return x + self.expand(z.reshape(phi.shape))                 # N×c×d×h×w


class NonLocal(nn.Module):
    """x + expand(Z), z_i = Σ_j softmax_j(θ(x_i)ᵀ φ(x_j)) g(x_j)."""

    def __init__(self, channels: int, dims: int, width: int):
        super().__init__()
        self.theta, self.phi, self.g = (pointwise(channels, width, dims) for _ in range(3))
        self.expand = pointwise(width, channels, dims)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        g = self.g(x)                                                # N×k×d×h×w
        query, key = self.theta(x).flatten(2), self.phi(x).flatten(2)  # N×k×dhw
        r = (query.transpose(1, 2) @ key).softmax(2)                 # N×dhw×dhw
        z = g.flatten(2) @ r.transpose(1, 2)                         # N×k×dhw
        return x + self.expand(z.reshape(g.shape))                   # N×c×d×h×w


class SqueezeExcite(nn.Module):
    """x · scale · sigmoid(W₂ relu(W₁ mean(x)))."""

    def __init__(self, channels: int, dims: int, width: int, scale: float = 1.0):
        super().__init__()
        self.mean, self.scale = MEAN[dims](1), scale
        self.squeeze_conv = conv(channels, width, (1,) * dims, bias=True)
        self.excite_conv = conv(width, channels, (1,) * dims, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden = self.squeeze_conv(self.mean(x)).relu()              # N×c/16×1×1×1
        return x * (self.scale * self.excite_conv(hidden).sigmoid())


# ---- networks

def build(described: dict) -> nn.Sequential:
    """The network that is `described`, as `network` does it and files hold it; its weights are
    Gaussian with variance 2 / fan-in (He et al. 2015)."""
    stem, blocks = described['stem'], described['blocks']
    channels, dims = stem['channels'], len(stem['kernel'])
    layers: OrderedDict = OrderedDict(conv1_conv=conv(3, channels, stem['kernel'], stem['stride']),
                                      conv1=bn_relu(channels))
    if stem['pool']:
        layers['pool1'] = MAX_POOL[dims](stem['pool'], [2 if side > 1 else 1
                                                        for side in stem['pool']],
                                         [side // 2 for side in stem['pool']])
    unit_type = UNITS[described['unit']]
    for name, unit in described['units'].items():
        layers[name] = unit_type(channels, **unit, se=blocks.get(f'{name}_se'))
        channels = unit_type.expansion * unit['width']
        for kind, block in (('a2', DoubleAttention), ('nl', NonLocal)):
            if f'{name}_{kind}' in blocks:
                layers[f'{name}_{kind}'] = block(channels, dims, **blocks[f'{name}_{kind}'])
    net = nn.Sequential(OrderedDict(
        **layers, final=bn_relu(channels), pool=MEAN[dims](1), flatten=nn.Flatten(),
        dropout=nn.Dropout(described['dropout']), fc=nn.Linear(channels, described['classes'])))
    for name, weight in net.named_parameters():
        if weight.dim() > 1:
            nn.init.kaiming_normal_(weight)
        elif name.endswith('bias'):
            nn.init.zeros_(weight)
    net.described = described
    return net


def load(path: str) -> tuple:
    """(the network in a .safetensors file, in evaluation mode, what else the file says of it)."""
    from safetensors import safe_open
    with safe_open(path, 'pt') as file:
        said = {key: json.loads(value) for key, value in (file.metadata() or {}).items()}
        net = build(said['network'])
        net.load_state_dict({name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118
    return net.eval(), said['meta']


def save(net: nn.Module, path: str, meta: Optional[dict] = None) -> None:
    """Write the network as `load` and gluon_a2 read it; `meta` is what else is said of it."""
    from safetensors.torch import save_file
    save_file({name: value.contiguous() for name, value in net.state_dict().items()}, path,
              {'network': json.dumps(net.described), 'meta': json.dumps(meta or {})})
