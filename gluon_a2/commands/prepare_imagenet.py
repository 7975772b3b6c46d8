"""Write ImageNet, or any class folders, as record files; or check such files.

    %(prog)s --data-dir IMAGENET --out RECORDS -j 8
    %(prog)s --verify --out RECORDS -j 8

reads IMAGENET and writes RECORDS/train.rec, val.rec (each with .idx and .lst) and classes.txt.
IMAGENET holds ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar and ILSVRC2012_devkit_t12.tar.gz, as
image-net.org has them, and nothing is extracted. Or it holds what was extracted from them, or the
ILSVRC folder of Kaggle and LOC_val_solution.csv, or class folders train/<class>/ and val/<class>/.
Classes are in the order of their names. Images are stored as they are, unless --resize is given.
Exit code 1: some images were left out, or --verify found something wrong. 2: nothing could be done.
"""
import dataclasses
import sys
from typing import Optional, Sequence

from .. import cli, flags
from ..errors import UserError
from ..flags import REQUIRED, option
from ..machine.resources import cores


@dataclasses.dataclass(frozen=True)
class Choices:
    """Where images come from, and how they are stored."""

    out: str = option(REQUIRED, 'folder of the record files')
    data_dir: Optional[str] = option(None, "folder of ImageNet's files, or of train/<class>/ and "
                                           'val/<class>/')
    val_labels: Optional[str] = option(
        None, 'classes of validation images, where --data-dir does not hold them: the development '
        "kit, the ground truth beside its meta.mat, Kaggle's .csv, or lines of 'name class'",
        metavar='FILE')
    split: str = option('train,val', 'splits to write or check, separated by commas')
    resize: int = option(0, 'reduce the short side of larger images to this; 0 stores every image '
                            'as it is', low=0)
    quality: int = option(95, 'JPEG quality of images that are resized', low=1, high=100)
    num_data_workers: int = option(cores(), 'processes', low=1, short='-j')
    overwrite: bool = option(False, 'replace record files that exist')
    verify: bool = option(False, 'check the record files, write nothing')

    def __post_init__(self) -> None:
        flags.check(self)
        if not all(self.split.split(',')):
            raise UserError(f'`split` must be names separated by commas, not {self.split!r}')
        if self.val_labels and (self.verify or 'val' not in self.split.split(',')):
            raise UserError('`val_labels` is for writing the records of val: leave it out')
        if self.data_dir is None and not self.verify:
            raise UserError("`data_dir` is missing: the folder of ImageNet's files, or of "
                            'train/<class>/ and val/<class>/')


@cli.entry
def main(argv: Optional[Sequence[str]] = None) -> int:
    """Write or verify records; exit code 1 if anything was wrong with them."""
    (chosen,) = flags.parse(cli.parser(__doc__), argv, Choices)
    from ..data import prepare
    splits = chosen.split.split(',')
    if chosen.verify:
        problems = prepare.verify(chosen.out, splits, chosen.num_data_workers)
    else:
        problems = prepare.prepare(chosen.data_dir, chosen.out, splits, chosen.resize,
                                   chosen.quality, chosen.num_data_workers, chosen.overwrite,
                                   chosen.val_labels)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0
