"""From a recipe to a network with its weights, and from a checkpoint to a network for use."""
from pathlib import Path

import gluon_a2.data as data

from ..backend import mx
from ..deploy.bundle import Bundle, read_bundle
from ..errors import UserError
from ..models import get_model
from ..models.table import find_row
from ..models.zoo import set_parameters
from . import checkpoint
from .recipes import from_json

FEATURES, CLASSIFIER = 'final_relu_fwd_output', 'fc'


def build(recipe, ctx=None):
    """The recipe's network, initialized as its seed says, or from its pretrained file, on `ctx`."""
    if find_row(recipe.model).dims != 2:
        raise UserError(f'{recipe.model} is a video network: choose one without _3d')
    ctx = ctx or mx.cpu()
    net = get_model(recipe.model, classes=recipe.classes, association=recipe.association,
                    input_size=recipe.input_size, last_gamma=recipe.last_gamma, dropout=recipe.dropout,
                    pretrained=recipe.pretrained or False, ctx=ctx)
    if not recipe.pretrained:
        mx.random.seed(recipe.seed)
        # Gaussian with variance 2 / fan-in (He et al. 2015), as in the Dual Path Networks code.
        net.initialize(mx.init.Xavier(rnd_type='gaussian', factor_type='in', magnitude=2), ctx=ctx)
    if recipe.dtype != 'float32':
        net.cast(recipe.dtype)
    return net


def restored(found):
    """The network of a `Checkpoint` as a `Bundle` in float32: what is exported, and what is scored."""
    recipe = from_json(found.state['recipe'])
    net = get_model(recipe.model, classes=recipe.classes, association=recipe.association,
                    input_size=recipe.input_size)
    values = {name.split('/', 1)[1]: value for name, value in found.tensors.items() if name.startswith('param/')}
    set_parameters(net, values, found.path, mx.cpu())
    return bundle(net, recipe, found.state['classes'], {
        'data': found.state['data'], 'recipe': found.state['recipe'], 'step': found.state['at']['step']})


def bundle(net, recipe, classes, training):
    """`net` (float32, on the CPU) as a `Bundle`; `classes` are names, `training` says where it comes from."""
    symbol, parameters = net(mx.sym.var('data')), net.collect_params()
    arguments = {name: parameters[name].data() for name in symbol.list_arguments() if name != 'data'}
    statistics = {name: parameters[name].data() for name in symbol.list_auxiliary_states()}
    return Bundle(symbol, arguments, statistics, {
        'network': net.row.name, 'classes': list(classes), 'layout': 'NCHW', 'input': 'data',
        'input_shape': [3, recipe.input_size, recipe.input_size], 'output': 'logits',
        'mean': list(data.MEAN), 'scale': data.SCALE, 'crop_ratio': recipe.crop_ratio, 'resize': 'bicubic',
        'features': FEATURES, 'classifier': CLASSIFIER, 'stride': list(net.row.stride), 'training': training})


def load(source, which=None):
    """The `Bundle` of exported files, or of a checkpoint: `source` a run's folder, `which` 'last', 'best' or a path."""
    folder = Path(source)
    if folder.is_dir():
        exported = sorted(folder.glob('*-meta.json'))
        if exported:
            raise UserError(f'{source} is a folder of exported files: name one of them, such as {exported[0]}')
        return restored(checkpoint.find(folder / 'checkpoints', which or 'last'))
    if which is not None:
        raise UserError(f'--checkpoint {which} needs the folder of a run: {source} is an exported network, one '
                        'checkpoint already')
    return read_bundle(source)
