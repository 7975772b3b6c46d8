"""The networks that are compared, as rows of data."""
import importlib.util
from typing import NamedTuple, Optional, Tuple

import bench  # noqa: F401 (it makes gluon_a2 importable)

from gluon_a2.errors import UserError, install_extra
from gluon_a2.models.table import ZOO

OURS, GLUONCV = 'gluon_a2', 'GluonCV'


class Network(NamedTuple):
    """One network, at the input that is measured."""
    name: str
    family: str
    input_size: Tuple[int, ...]  # (height, width) or (frames, height, width)
    classes: int
    source: Optional[str] = None  # its name in the GluonCV zoo

    @property
    def frames(self):
        """Of a clip; 0 for an image network."""
        return self.input_size[0] if len(self.input_size) == 3 else 0

    @property
    def shown_size(self):
        """As a table shows it: 224×224, 8×224×224."""
        return '×'.join(map(str, self.input_size))


_IMAGES = ('resnet18_v1b', 'resnet50_v1b', 'resnet50_v2', 'resnet152_v1b', 'se_resnet50_v1',
           'mobilenetv2_1.0', 'mobilenetv2_0.25')

# The clips that GluonCV's published accuracies are of. Tables 5 and 6 of the paper count I3D at 64
# frames and R(2+1)D at 32, so the multiply-adds there are others.
_VIDEOS = {'c3d': (16, 112, 112), 'i3d_inceptionv1': (32, 224, 224),
           'r2plus1d_resnet34': (16, 112, 112), 'i3d_nl5_resnet50_v1': (32, 224, 224)}

NETWORKS = {network.name: network for network in (
    *(Network(row.name, OURS, row.input_size, row.classes) for row in ZOO.values()),
    *(Network(name, GLUONCV, (224, 224), 1000, name) for name in _IMAGES),
    *(Network(name, GLUONCV, size, 400, f'{name}_kinetics400') for name, size in _VIDEOS.items()))}

# Compared where no others are asked for; all ratios are to the first.
IMAGE = ('resnet50', 'a2_resnet50', 'nl_resnet50', 'se_resnet50', 'resnet152', 'a2_resnet152',
         'nl_resnet152', 'se_resnet152', 'resnet50_v1b', 'resnet50_v2', 'se_resnet50_v1',
         'resnet152_v1b', 'mobilenetv2_1.0')
VIDEO = ('resnet50_3d', 'a2_resnet50_3d', 'nl_resnet50_3d', *_VIDEOS)


def choose(names, input_size=None):
    """The `Network` of each name, in any case and once; images with side `input_size`, if given.

    UserError for a name that is not there (it lists all) and for GluonCV's where that is not
    installed.
    """
    names = dict.fromkeys(name.lower() for name in names)
    unknown = [name for name in names if name not in NETWORKS]
    if unknown:
        raise UserError(f'unknown network {unknown[0]!r}: choose from '
                        f'{", ".join(sorted(NETWORKS))}')
    chosen = [NETWORKS[name] for name in names]
    foreign = [network.name for network in chosen if network.family == GLUONCV]
    if foreign and importlib.util.find_spec('gluoncv') is None:
        raise UserError(f'{foreign[0]} comes from GluonCV, which is not installed: '
                        f'{install_extra("zoo")}, or leave it out (`networks`)')
    return [network if network.frames or input_size is None
            else network._replace(input_size=(input_size, input_size)) for network in chosen]
