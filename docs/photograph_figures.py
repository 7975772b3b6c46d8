#!/usr/bin/env python
"""Draw Figures 1 and 2 of the paper from a trained network and a real photograph.

    git clone https://github.com/songhan/SqueezeNet-Deep-Compression
    git clone https://github.com/thunderInfy/imagenette
    python docs/photograph_figures.py train --squeezenet SqueezeNet-Deep-Compression \\
        --imagenette imagenette --work photograph
    python docs/photograph_figures.py draw --work photograph

The network is SqueezeNet 1.0 with its authors' ImageNet weights, and one A² block behind its last
unit of 27×27 positions. `train` trains it on 100 photographs of each of Imagenette's ten classes,
the block twenty times as fast as the rest. The photograph is china.jpg of scikit-learn.
"""
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / 'benchmarks'))

import bench  # noqa: F401 (it makes gluon_a2 importable)
import numpy as np
from figures import ARROWS, GREY

from gluon_a2.cli import entry, parser
from gluon_a2.visualization.figure import as_png, new_figure
from gluon_a2.visualization.sheet import heat

HERE = Path(__file__).resolve().parent
PER_CLASS, STRONG = 100, 16  # photographs; descriptors, of which three are shown
TRAIN = ('--recipe', 'imagenet_a2_resnet50', '--model', 'gluoncv:squeezenet1.0', '--plug',
         'a2@features.10', '--classes', 10, '--crop-ratio', 1, '--min-area', 0.25, '--lr', 0.002,
         '--lr-mult', '.*_a2_.*=20', '--lr-mode', 'cosine', '--warmup-epochs', 0.2,
         '--clip-gradient', 1, '--num-epochs', 3)
BLOCK = 'squeezenet0_features_10_a2_'
ARRAYS = {  # what the figures show: the graph's names for it
    'X': 'squeezenet0_concat6', 'A': BLOCK + 'phi_conv_fwd', 'θ': BLOCK + 'theta_conv_fwd',
    'ρ': BLOCK + 'rho_conv_fwd', 'B': BLOCK + 'gather_attention', 'G': BLOCK + 'gather',
    'V': BLOCK + 'distribute_attention', 'Z': BLOCK + 'unflatten',
    'expanded': BLOCK + 'expand_conv_fwd', 'Y': BLOCK + '_plus0'}
SIDE = 27


# ---- the network

def train(given):
    """Lay out the photographs as links, decode the weights, train."""
    from real_photographs import link, run
    from real_weights import bundle

    from gluon_a2.deploy.bundle import write_bundle
    for folder in sorted((given.imagenette / 'val').glob('n*')):
        both = [sorted((given.imagenette / part / folder.name).iterdir()) for part in
                ('train', 'val')]
        link([file for file in both[0] if not file.name.startswith('ILSVRC')][:PER_CLASS],
             given.work / 'data' / 'train' / folder.name)
        link([file for files in both for file in files if file.name.startswith('ILSVRC')],
             given.work / 'data' / 'val' / folder.name)
    weights = given.work / 'squeezenet1.0'
    write_bundle(bundle('squeezenet1.0', given.squeezenet, list(map(str, range(1000)))), weights)
    run('train-imagenet', *TRAIN, '--data-dir', given.work.resolve() / 'data', '--pretrained',
        weights.resolve(), '--save-dir', given.work.resolve() / 'run', '--overwrite', '-j', 0)


def look(bundle):
    """(uint8 224×224×3 of the photograph, {name: float32 array of what the block does with it})."""
    from sklearn.datasets import load_sample_image

    from gluon_a2.backend import mx
    from gluon_a2.deploy import Classifier
    from gluon_a2.formats.symbol import parse_symbol
    net = Classifier(bundle)
    pixels = net.preprocessing.normalise(net.preprocessing(load_sample_image('china.jpg')))
    internals = parse_symbol(bundle.graph, 'the network').get_internals()
    block = mx.gluon.SymbolBlock([internals[f'{name}_output'] for name in ARRAYS.values()],
                                 mx.sym.var(bundle.meta['input'], dtype='float32'))
    block.collect_params().load_dict({name: mx.nd.array(value) for name, value in
                                      bundle.values.items()}, ctx=mx.cpu(), ignore_extra=True)
    found = block(mx.nd.array(pixels[None]))
    return net.preprocessing.restore(pixels), {
        name: array[0].asnumpy() for name, array in zip(ARRAYS, found)}


# ---- pictures of arrays

def colours(features):
    """float h×w×3 in 0…1: the three main components of c×h×w as red, green and blue."""
    flat = features.reshape(len(features), -1)
    flat = flat - flat.mean(1, keepdims=True)
    main = np.linalg.svd(flat, full_matrices=False)[2][:3].T  # hw×3
    low, high = np.percentile(main, (2, 98), axis=0)
    return ((main - low) / (high - low)).clip(0, 1).reshape(*features.shape[1:], 3)


def lit(values, photo):
    """float H×W×3: hw values over the photograph."""
    return heat(values.reshape(SIDE, SIDE) / values.max(), photo)


# ---- the figures

def shown(b, v):
    """Three of the descriptors that are read most: that of the narrowest, the middle and the widest
    gathering map, by its support, exp(entropy)."""
    strong = np.argsort(-v.mean(0), kind='stable')[:STRONG]
    support = np.exp(-(b[strong] * np.log(b[strong] + 1e-30)).sum(1))
    return strong[np.argsort(support, kind='stable')][[0, STRONG // 2, -1]]


def draw_figure1(png, photo, arrays):
    """What is gathered into a descriptor, the descriptor, and where it is distributed."""
    figure, (b, g, v) = new_figure(9.2, 6.6), (arrays[name] for name in 'BGV')
    rows = [[f'{part}{row}' for part in 'BGV'] for row in (0, 0, 1, 1, 2, 2)]
    grid = figure.subplot_mosaic([[left, *row, right] for left, row, right in zip(
        ['photo'] * 3 + ['X'] * 3, rows, ['Z'] * 3 + ['Y'] * 3)], width_ratios=(2, 2, 1, 2, 2))
    for name, picture, title in (
            ('photo', photo, 'the photograph'), ('X', colours(arrays['X']), 'X, 512×27×27'),
            ('Z', colours(arrays['Z']), 'Z, 128×27×27'), ('Y', colours(arrays['Y']),
                                                         'X + expanded Z')):
        grid[name].imshow(picture)
        grid[name].set_title(title, fontsize=9)
    for row, j in enumerate(shown(b, v)):
        grid[f'B{row}'].imshow(lit(b[j], photo))
        grid[f'B{row}'].set_ylabel(f'descriptor {j}', fontsize=8)
        grid[f'G{row}'].imshow(g[:, j].reshape(16, 8), cmap='RdBu', vmin=-np.abs(g).max(),
                               vmax=np.abs(g).max())
        grid[f'V{row}'].imshow(lit(v[:, j], photo))
    for name, title in (('B0', 'gathered from'), ('G0', 'its 128\nnumbers'),
                        ('V0', 'distributed to')):
        grid[name].set_title(title, fontsize=9)
    for axes in grid.values():
        axes.set(xticks=[], yticks=[])
    png.write_bytes(as_png(figure, 90))


def draw_figure2(png, photo, arrays):
    """The block, with the sizes and the arrays of this network in the boxes."""
    b, v = arrays['B'], arrays['V']
    j = int(shown(b, v)[1])
    maps = [  # x, y, picture, text, in the order of `figures.BOXES`
        (0, 2.0, colours(arrays['X']), 'X\n512 × 729'),
        (2.2, 3.9, colours(arrays['A']), 'φ: 128 × 729'),
        (2.2, 2.0, arrays['θ'][j], f'θ: 128 × 729\n(row {j})'),
        (2.2, 0.1, arrays['ρ'][j], f'ρ: 128 × 729\n(row {j})'),
        (4.3, 2.0, lit(b[j], photo), 'softmax over\n729 positions'),
        (4.3, 0.1, lit(v[:, j], photo), 'softmax over\n128 descriptors'),
        (6.5, 2.9, arrays['G'].clip(*np.percentile(arrays['G'], (2, 98))),
         'G = A Bᵀ (Eq. 4)\n128 × 128'),
        (8.7, 1.9, colours(arrays['Z']), 'Z = G V (Eq. 5)\n128 × 729'),
        (10.8, 1.9, colours(arrays['expanded']), 'expand\n512 × 729'),
        (12.9, 1.9, colours(arrays['Y']), 'X + expanded\n512 × 729')]
    figure, half = new_figure(9.2, 4.2), 0.6
    axes = figure.subplots()
    axes.set_axis_off()
    for x, y, picture, text in maps:
        axes.imshow(picture, extent=(x - half, x + half, y - half, y + half), aspect='equal')
        axes.text(x, y - half - 0.1, text, ha='center', va='top', fontsize=8)
    for start, end, label in ARROWS:
        (x0, y0), (x1, y1) = maps[start][:2], maps[end][:2]
        axes.annotate('', (x1 - half, y1), (x0 + half, y0),
                      arrowprops={'arrowstyle': '-|>', 'color': GREY})
        axes.text((x0 + x1) / 2, (y0 + y1) / 2 + 0.12, label, ha='center', fontsize=9,
                  style='italic')
    axes.plot([0, 0, 12.9], [2 + half, 4.9, 4.9], color=GREY, linewidth=1)  # the residual path
    axes.annotate('', (12.9, 1.9 + half), (12.9, 4.92),
                  arrowprops={'arrowstyle': '-|>', 'color': GREY})
    axes.set(xlim=(-0.8, 13.7), ylim=(-1.1, 5.0))
    png.write_bytes(as_png(figure, 90))


def draw(given):
    """Both figures, into docs/."""
    from gluon_a2.run.load import load
    photo, arrays = look(load(given.work / 'run'))
    draw_figure1(HERE / 'figure1.png', photo, arrays)
    draw_figure2(HERE / 'figure2.png', photo, arrays)


@entry
def main(argv=None):
    """Train the network, or draw what it does."""
    flags = parser(__doc__)
    flags.add_argument('step', choices=('train', 'draw'))
    for name, what in (('squeezenet', 'folder of compressed_SqueezeNet.net'),
                       ('imagenette', 'folder of train/ and val/'), ('work', 'folder of the run')):
        flags.add_argument(f'--{name}', type=Path, required=name == 'work', help=what)
    given = flags.parse_args(argv)
    {'train': train, 'draw': draw}[given.step](given)


if __name__ == '__main__':
    sys.exit(main())
