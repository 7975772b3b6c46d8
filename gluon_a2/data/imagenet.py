"""What is known of ImageNet-1k (ILSVRC2012): its classes, their English names, and its counts.

A class is named by its wnid, the number of a noun in WordNet, such as n01440764. Sorted by wnid,
the classes have the labels 0…999 that class folders, GluonCV and PyTorch give them.
`imagenet_names.txt` has the nouns, which are WordNet's: a line for each wnid, all synonyms in it.
"""
from __future__ import annotations

import collections
import functools
import logging
import types
from pathlib import Path
from typing import Iterable, Mapping, Sequence

_log = logging.getLogger(__name__)

IMAGES = {'train': 1281167, 'val': 50000}
_OF_A_CLASS = IMAGES['val'] // 1000  # in val; in train they differ
_NAMES = Path(__file__).with_name('imagenet_names.txt')


@functools.lru_cache(None)
def names() -> Mapping[str, str]:
    """{wnid: its synonyms, with commas between}, in the order of the labels."""
    rows = (line.split('\t') for line in _NAMES.read_text(encoding='utf-8').splitlines())
    return types.MappingProxyType(dict(rows))


def english(name: str) -> str:
    """All synonyms of a class that is named by its wnid; nothing for other names."""
    return names().get(name, '')


def shown(name: str) -> str:
    """What people see of a class: 'tench (n01440764)', and other names as they are.

    The wnid stays, since nouns stand several times: there are two cranes.
    """
    return f'{english(name).split(", ")[0]} ({name})' if english(name) else name


def warn_of_counts(classes: Sequence[str], parts: Mapping[str, Iterable[int]]) -> None:
    """Warn, once, where all classes of ImageNet-1k are there and the images of it are not.

    `parts` has the labels of the images of 'train', 'val', or both.
    """
    if set(classes) != set(names()):
        return
    wrong = []
    for part, labels in parts.items():
        count = collections.Counter(map(int, labels))
        seen, of_a_class = sum(count.values()), {count[i] for i in range(len(classes))}
        if seen != IMAGES.get(part, seen):
            wrong.append(f'{part} has {seen:,} images instead of {IMAGES[part]:,}')
        elif part == 'val' and of_a_class != {_OF_A_CLASS}:
            wrong.append(f'{part} has {min(of_a_class)} to {max(of_a_class)} images of a class '
                         f'instead of {_OF_A_CLASS}')
    if wrong:
        _log.warning('the classes are those of ImageNet, and the images are not all of it: %s',
                     '; '.join(wrong))
