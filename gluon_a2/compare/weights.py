"""Where a network's file of weights is: named by the user, or in GluonCV's cache, or fetched into
it."""
import hashlib
import os
import zipfile
from pathlib import Path

from ..errors import UserError


def cache_folder():
    """Where GluonCV keeps the files it has downloaded."""
    return Path(os.environ.get('MXNET_HOME', Path.home() / '.mxnet')) / 'models'


def find_weights(networks, given, download=False):
    """{network: path} of the image networks in `networks` that have weights.

    `given` is {name: path}. Weights of ours are published nowhere, nor those of a few of GluonCV:
    without a path they are left out. Weights that GluonCV publishes must be there, or be fetched
    with `download`: UserError.
    """
    names = [network.name for network in networks if not network.frames]
    unknown = [name for name in given if name not in names]
    if unknown:
        raise UserError(f'--params {unknown[0]}=… is not one of the image networks that are '
                        f'compared: {", ".join(names) or "there is none"}')
    found = {
        network: Path(given[network.name]) if network.name in given else _published(
            network, download) for network in networks if not network.frames
    }
    found = {network: path for network, path in found.items() if path is not None}
    if not found:
        raise UserError('--pretrained found weights of no network: name files with --params '
                        'NAME=FILE, or compare image networks whose weights GluonCV publishes')
    return found


def _published(network, download):
    """Path of the weights GluonCV publishes, verified; None where it publishes none."""
    if network.source is None:
        return None
    from gluoncv.model_zoo import model_store
    if network.source not in model_store.pretrained_model_list():
        return None
    digest = model_store.short_hash(network.source)
    path = cache_folder() / f'{network.source}-{digest}.params'
    if not path.exists():
        if not download:
            raise UserError(f'the weights of {network.name} are not in {path}: add --download '
                            'where there is a network connection, or name a file with --params '
                            f'{network.name}=FILE')
        _fetch(model_store, network)
    # the hash that GluonCV knows it by
    if not hashlib.sha1(path.read_bytes()).hexdigest().startswith(digest):
        raise UserError(f'{path} is damaged: its SHA-1 does not begin with {digest}; remove it and '
                        'use --download')
    return path


def _fetch(model_store, network):
    """Let GluonCV download; whatever fails there is one sentence."""
    try:
        model_store.get_model_file(network.source, root=str(cache_folder()))
    # requests' errors are OSErrors
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(f'the weights of {network.name} cannot be downloaded ({reason[:200]}): '
                        'bring the file here and name it with --params '
                        f'{network.name}=FILE') from error
