"""Any Gluon network as a `Bundle`, with what its users must know of it."""
from ..backend import mx
from ..data import MEAN, SCALE
from .bundle import Bundle


def from_gluon(net, network, classes, input_shape, mean=MEAN, scale=SCALE, crop_ratio=0.875,
               training=None, **more):
    """The `Bundle` of `net`, an initialized HybridBlock (float32, on the CPU) from pixels to
    logits.

    `network` is its name, `classes` the names of its classes, `input_shape` (3, H, W) or (3, T, H,
    W). It is fed (x − mean) · scale of RGB bytes x, `mean` a number for each channel; `crop_ratio`
    is the side of the centre crop over the resized short side. `training` says where its weights
    come from; `more` are further entries of the metadata: of a video network frame_stride, views
    and crops.
    """
    symbol, parameters = net(mx.sym.var('data')), net.collect_params()
    arguments = {
        name: parameters[name].data().asnumpy() for name in symbol.list_arguments()
        if name != 'data'
    }
    statistics = {
        name: parameters[name].data().asnumpy() for name in symbol.list_auxiliary_states()
    }
    return Bundle(
        symbol.tojson().encode(), arguments, statistics, {
            'network': network, 'classes': list(classes), 'layout': {
                3: 'NCHW', 4: 'NCDHW'
            }[len(input_shape)], 'input': 'data', 'input_shape': list(input_shape),
            'output': 'logits', 'mean': list(mean), 'scale': scale, 'crop_ratio': crop_ratio,
            'resize': 'bicubic', 'features': None, 'classifier': None, 'stride': [1] *
            (len(input_shape) - 1), 'precision': 'float32', 'training': training
            or {'data': 'not known'}, 'versions': {'mxnet': mx.__version__}, **more
        })
