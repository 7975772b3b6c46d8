"""The accuracy of files of weights, by the scorer that our own networks are scored with."""
import numpy as np

from ..backend import mx
from ..data import Loader, batches, check_labels, open_source
from ..models.zoo import read_parameters, set_parameters
from ..scoring.metrics import evaluate
from .preprocess import FamilyTransform
from .worker import build


def load(network, path):
    """The Gluon network with the weights of a `.params` file, which MXNet does not see before it is
    checked."""
    net = build(network)
    net.collect_params().setattr('grad_req', 'null')
    set_parameters(net, read_parameters(net, path), path, mx.cpu())
    net.hybridize(static_alloc=True, static_shape=True)
    return net


def score(weights, data_dir, batch_size=32, workers=2):
    """{network: `Sums`} over the validation images of `data_dir`, every one once; `weights` are
    {network: path}.

    The crop is the network's input, of a short side 8/7 as long (224 of 256). All files are read
    before any is scored.
    """
    source = open_source(data_dir, 'val')
    check_labels(source, min(network.classes for network in weights))
    nets = {network: load(network, path) for network, path in weights.items()}
    return {
        network: _score(network, net, source, batch_size, workers) for network, net in nets.items()
    }


def _score(network, net, source, batch_size, workers):
    transform = FamilyTransform(network.input_size[0], family=network.family)
    with Loader(source, transform, workers) as loader:
        loaded = loader.load(batches(np.arange(len(source)), batch_size), 0)
        return evaluate(lambda images: net(mx.nd.array(images)).asnumpy(), loaded, len(source),
                        describe=f'scoring {network.name}')


def columns(sums):
    """Columns of a network's row; `sums` is None where it was not scored."""
    return {
        'scored_top1': sums and 100 * sums.accuracy, 'scored_top5': sums
        and 100 * sums.top5_accuracy, 'scored_images': sums and sums.images
    }
