"""Starting a video network from the image network of the same name (Section 3.4; Carreira and Zisserman, ref. [1])."""
from ..errors import UserError


def inflate(image_net, video_net):
    """Copy `image_net`'s weights into `video_net`; both initialized. The names left as they were: the new blocks'.

    A kernel that gains T frames is repeated T times and divided by T, so that a clip of one repeated frame gives,
    away from its first and last frames, what the frame gave. Everything else, a classifier of another number of
    classes excepted, is copied as it is. Raises UserError for two networks of different backbones.
    """
    source, target = image_net.collect_params(), video_net.collect_params()
    strange = [name for name in source if name not in target]
    if strange:
        raise UserError(f'the video network has no {strange[0]}: give two networks of one backbone, '
                        'the blocks of the image one a part of the video one\'s')
    inflated, kept = {}, [name for name in target if name not in source]
    for name, parameter in source.items():
        weight, wanted = parameter.data(), tuple(target[name].shape)
        if len(wanted) == 5:
            frames = wanted[2]
            weight = weight.expand_dims(2).repeat(frames, axis=2) / frames  # O×I×T×h×w
        if tuple(weight.shape) == wanted:
            inflated[name] = weight
        elif name.startswith('fc_'):
            kept.append(name)
        else:
            raise UserError(f'{name} is {tuple(parameter.shape)} in the image network and {wanted} in the video '
                            'network: give two networks of one backbone')
    for name, weight in inflated.items():
        target[name].set_data(weight)
    return kept
