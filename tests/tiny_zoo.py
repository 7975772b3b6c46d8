"""Networks of milliseconds, which are in no zoo: tiny, a2_tiny, nl_tiny and se_tiny of images, and
tiny_3d and so on of video; tiny_pooled_3d has a pool and kernels that alternate, as ResNet-50.

As a program it is a script of this project that knows them: the environment's A2_SCRIPT names it,
and the ranks that it starts inherit that.
"""
import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def install(setitem, setattr):
    """Add the networks by `setitem(dict, key, value)`, and by `setattr(owner, name, value)`
    have runs draw no curve, since that takes longer than their steps."""
    from gluon_a2.models import table
    from gluon_a2.run.folder import Run
    from gluon_a2.train import buckets
    stage = table.Stage(2, 1, (3,), (1, 2, 2))
    row = table.Backbone(table.Stem((3, 5, 5), 4, (1, 2, 2)), stage._replace(stride=(2, 1, 1)),
                         stage, stage._replace(width=4, units=2), stage._replace(width=4), frames=4,
                         size=16, blocks={'conv3': (1,), 'conv4': (1, 2)}, ratio=2)
    setitem(table.BACKBONES, 'tiny', row)
    pooled = row._replace(stem=row.stem._replace(pool=(1, 3, 3)),
                          conv4=row.conv4._replace(k=(3, 1)))
    setitem(table.BACKBONES, 'tiny_pooled', pooled)
    setitem(table.ZOO, 'tiny_pooled_3d', table.Row('tiny_pooled_3d', 'tiny_pooled', 3, None, {}))
    for kind in (None, 'a2', 'nl', 'se'):
        for dims, ending in ((2, ''), (3, '_3d')):
            name = f'{kind}_tiny{ending}' if kind else f'tiny{ending}'
            setitem(table.ZOO, name, table.Row(name, 'tiny', dims, kind,
                                               table.usual_blocks(kind, row)))
    setattr(Run, 'draw', lambda run: None)
    setattr(buckets, 'VALUES', 1000)  # their gradients fill several


def program(script):
    """The command and the environment that run `script` with these networks."""
    return [sys.executable, __file__], {**os.environ, 'A2_SCRIPT': str(ROOT / script)}


if __name__ == '__main__':
    path = Path(os.environ['A2_SCRIPT'])
    sys.path[:0] = [str(path.parent), str(ROOT)]
    sys.modules['sklearn'] = None  # MXNet imports it for half a second, and can do without
    if 'GLUON_A2_LAUNCH' in os.environ or not {'-np', '--max-restarts'} & set(sys.argv):
        install(dict.__setitem__, setattr)  # a launcher needs none, and no MXNet
    exec(compile(path.read_text(), str(path), 'exec'),
         {'__name__': '__main__', '__file__': str(path), '__doc__': None})
