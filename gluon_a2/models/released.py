"""Trained weights that come along: `get_model(name, pretrained=True)`, which downloads nothing.

docs/models.md is their model card. `tools/release.py` makes a file of a run.
"""
from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..data.cache import cache_folder
from ..errors import UserError
from ..files import sha256

HERE = Path(__file__).resolve().parents[1] / 'released'


class Release(NamedTuple):
    """Weights of one training, and how they were seen to answer."""
    network: str
    data: str
    classes: tuple[str, ...]
    recipe: str  # whose preprocessing they take
    input_size: int
    top1: float  # of `pictures` that it was not trained on
    pictures: int
    sha256: str

    @property
    def correct(self) -> int:
        """How many of the pictures were right."""
        return round(self.top1 * self.pictures)


# `pretrained=True` is the first of a network.
RELEASES: dict[str, Release] = {
    'digits': Release(
        'a2_resnet26', 'digits', tuple('0123456789'), 'digits', 32, 0.986072, 359,
        'f617b8432ca05d8175c44cdcd29fdd1f7d09c16f951bcd06939c46331d9b1bf0'),
    'far': Release(
        'a2_resnet26', 'cued digits of MNIST, far', tuple('01234'), 'digits', 32, 0.825, 1800,
        '7500effb0861c343fdb0b7623208ac38797a303a3e6adf91c0902051c858f383'),
}


def usual(network: str) -> str:
    """The name of the release that `pretrained=True` means; UserError where there is none."""
    for name, release in RELEASES.items():
        if release.network == network:
            return name
    have = ', '.join(dict.fromkeys(release.network for release in RELEASES.values()))
    raise UserError(f'no weights of {network} come along, only of {have}: give the path of a '
                    '.params file as `pretrained`')


def find(name: object) -> Release | None:
    """The release of this name; None where `name` is none, or a file of this name is there."""
    return None if Path(str(name)).is_file() else RELEASES.get(str(name))


def path_of(name: str) -> Path:
    """The file of a release, out of the package or the cache, its hash checked."""
    release = RELEASES[name]
    file = f'{release.network}-{name}.params'
    path = HERE / file
    if not path.exists():
        path = Path(cache_folder(), 'models', file)
    if not path.exists():
        raise UserError(f'the weights {name!r} are not installed: copy gluon_a2/released/{file} of '
                        f'the source to {path}')
    if sha256(path.read_bytes()) != release.sha256:
        raise UserError(f'{path} is not the released file, whose SHA-256 begins with '
                        f'{release.sha256[:8]}: remove it, and copy or install it again')
    return path
