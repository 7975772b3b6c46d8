"""The list of classes that ImageNet's validation images come with, in any of its forms."""
from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from typing import Any, Sequence

from ..errors import UserError
from .classes import open_text, printable

GROUND_TRUTH, _META = 'ILSVRC2012_validation_ground_truth.txt', 'meta.mat'


def read_val_labels(path: str, names: Sequence[str]) -> list[str]:
    """The class of each of the images `names`, which are sorted; UserError unless all have one.

    A line of the list is `name class`, also with a comma (Kaggle's LOC_val_solution.csv), or a
    class, in the order of the images. Or it is a number (ILSVRC2012_validation_ground_truth.txt),
    which meta.mat beside the list translates. The development kit is taken as it comes, a .tar.gz
    that holds these two.
    """
    lines, meta = _open(path)
    rows = [line.strip() for line in lines if line.strip()]
    stems, listed = [os.path.splitext(name)[0] for name in names], {}
    for row in rows:  # Kaggle's go on behind the class with boxes
        name, *label = row.replace(',', ' ', 1).split(None, 1)
        listed[os.path.splitext(name)[0]] = (label[0].split()[0] if label and ',' in row else
                                             ''.join(label))
    missing = [name for name, stem in zip(names, stems) if not listed.get(stem)]
    if not missing:
        return [listed[stem] for stem in stems]
    if len(missing) < len(names):
        raise UserError(f'{printable(path)} lists {len(names) - len(missing)} of the {len(names)} '
                        f'images only; {missing[0]} is not among them')
    if len(rows) != len(names):
        raise UserError(f'{printable(path)} has {len(rows)} labels, and there are {len(names)} '
                        'images: both must be whole')
    return _wnids(path, rows, meta) if all(map(str.isdecimal, rows)) else rows


def _open(path: str) -> tuple[list[str], Any]:
    """(lines of the list, meta.mat as a path or a file) of a list or a development kit."""
    if not path.endswith(('.tar.gz', '.tgz')):
        with open_text(path) as file:
            return list(file), os.path.join(os.path.dirname(path), _META)
    found = {}
    try:
        with gzip.open(path) as packed:  # to its end, where its checksum stands
            content = io.BytesIO(packed.read())
        with tarfile.open(fileobj=content, mode='r:') as tar:
            for member in tar:
                name = os.path.basename(member.name)
                if name in (GROUND_TRUTH, _META) and member.isreg():
                    found[name] = tar.extractfile(member).read()  # type: ignore[union-attr]
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise UserError(f'{printable(path)} cannot be read ({error}): download it again') from error
    for name in (GROUND_TRUTH, _META):
        if name not in found:
            raise UserError(f'{printable(path)} holds no {name}: give the development kit of tasks '
                            '1 and 2, ILSVRC2012_devkit_t12.tar.gz')
    return found[GROUND_TRUTH].decode('utf-8', 'replace').splitlines(), io.BytesIO(found[_META])


def _wnids(path, numbers, meta):
    """WordNet ids of ILSVRC2012's class numbers, which count from 1 in an order of their own."""
    if isinstance(meta, str) and not os.path.exists(meta):
        raise UserError(f'{printable(path)} has class numbers, which only meta.mat of the '
                        f'development kit translates: put it beside, as {printable(meta)}')
    known = _read_meta(meta, path)
    unknown = sorted(set(numbers) - set(known), key=int)
    if unknown:
        raise UserError(f'{printable(path)} has the class number {unknown[0]}, which meta.mat does '
                        'not know: they are not of the same development kit')
    return [known[number] for number in numbers]


def _read_meta(meta, path):
    """{number: wnid} of a meta.mat."""
    from scipy.io import loadmat
    try:
        table = loadmat(meta, squeeze_me=True)['synsets']
        rows = [(str(int(number)), str(wnid)) for number, wnid in zip(table['ILSVRC2012_ID'],
                                                                      table['WNID'])]
    except Exception as error:  # whatever its bytes lead scipy's reader to
        what = printable(meta) if isinstance(meta, str) else f'meta.mat in {printable(path)}'
        raise UserError(f'{what} is not the table of classes of the development kit ({error}): '
                        'take it from there again') from error
    return dict(rows)
