"""Starting a video network from other weights: an image network's (Section 3.4; Carreira and
Zisserman, ref. [1]), or those of a video network for other classes.
"""
import numpy as np

from ..backend import mx
from ..errors import UserError
from ..nn import block_of


def inflate(image_net, video_net):
    """Copy `image_net`'s weights into `video_net`, both initialized, as `adopt` does."""
    values = {
        name: parameter.data().asnumpy() for name, parameter in image_net.collect_params().items()
    }
    return adopt(video_net, values, 'the image network')


def adopt(video_net, values, source):
    """Give `video_net`, initialized, the weights `values` ({name: numpy array}); the names left as
    they were.

    A kernel that gains T frames is repeated T times and divided by T, so that a clip of one
    repeated frame gives, away from its first and last frames, what the frame gave. Everything else,
    a classifier of another number of classes excepted, is copied as it is. Blocks that `values`
    lack are left. Raises UserError, naming `source`, for weights of another backbone, and changes
    nothing then.
    """
    target, classifier = video_net.collect_params(), video_net.row.classifier
    strange = [name for name in values if name not in target]
    if strange:
        raise UserError(f'the video network has no {strange[0]}, which {source} has: give two '
                        'networks of one backbone, the blocks of the first a part of the second\'s')
    fitted, left = {}, [name for name in target if name not in values]
    for name, value in values.items():
        wanted = tuple(target[name].shape)
        if len(wanted) == 5 and value.ndim == 4:
            value = np.repeat(value[:, :, None], wanted[2], axis=2) / wanted[2]  # O×I×T×h×w
        if value.shape == wanted:
            fitted[name] = value
        elif name.startswith(classifier):
            left.append(name)
        else:
            raise UserError(f'{name} is {tuple(values[name].shape)} in {source} and {wanted} in '
                            'the video network: give two networks of one backbone')
    backbone = [name for name in left if not name.startswith(classifier) and not block_of(name)]
    if backbone:
        raise UserError(f'{source} lacks {backbone[0]}: give two networks of one backbone')
    for name, value in fitted.items():
        target[name].set_data(mx.nd.array(value, dtype=target[name].dtype))
    return left
