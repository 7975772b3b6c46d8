"""What a run needs but does not compute with: data, folder, how often it logs and saves."""
import functools
from dataclasses import dataclass
from typing import Optional

from ..errors import UserError
from ..flags import check, option

run, data = functools.partial(option, group='run'), functools.partial(option, group='data')


@dataclass(frozen=True)
class Options:
    """Paths, workers and logging of a run; `dims` marks those of images (2) or of videos (3)."""
    save_dir: Optional[str] = run(None, 'the run folder, runs/<model>-<date>-<time>', metavar='DIR')
    resume: bool = run(False, 'continue the run in that folder; or replace it')
    overwrite: bool = run(False, None)
    num_gpus: int = run(0, '0: train on the CPU; 1: this process trains on a GPU', low=0, high=1)
    num_data_workers: int = run(2, 'processes that decode and augment samples', short='-j', low=0)
    save_frequency: int = run(1, 'save every so many epochs; and steps (0: never)', low=1)
    save_steps: int = run(0, None, low=0)
    log_interval: int = run(50, 'steps between log lines; file instead of train.log', low=1)
    logging_file: Optional[str] = run(None, None, metavar='FILE')
    max_damaged: Optional[int] = run(None, 'unreadable samples to skip, at most; default 1 %',
                                     low=0, metavar='N')
    rank_timeout: float = run(20, 'seconds after which a silent rank counts as failed', low=1)
    test_io: Optional[int] = run(None, 'no training: time the reading of N samples, or all', low=0,
                                 const=0, metavar='N')

    data_dir: Optional[str] = data(None, 'folder of train.rec and val.rec, or train/ and val/',
                                   metavar='DIR')
    rec_train: Optional[str] = data(None, 'RecordIO files instead, and their index files',
                                    metavar='FILE', dims=2)
    rec_val: Optional[str] = data(None, None, metavar='FILE', dims=2)
    rec_train_idx: Optional[str] = data(None, None, metavar='FILE', dims=2)
    rec_val_idx: Optional[str] = data(None, None, metavar='FILE', dims=2)
    list_train: Optional[str] = data(None, 'lists of videos, whose paths start at --data-dir',
                                     metavar='FILE', dims=3)
    list_val: Optional[str] = data(None, None, metavar='FILE', dims=3)
    list_format: Optional[str] = data(None, 'path-label, path-frames-label, id-label-path or '
                                            'kinetics-csv', metavar='FORM', dims=3)
    split: Optional[int] = data(None, 'split 1, 2 or 3 of UCF-101; folder of its lists', low=1,
                                high=3, dims=3)
    splits: Optional[str] = data(None, None, metavar='DIR', dims=3)
    synthetic_data: Optional[int] = data(None, 'train on random pixels, STEPS (100) an epoch',
                                         low=1, const=100, metavar='STEPS')

    def __post_init__(self) -> None:
        check(self)
        self._check_records()
        self._check_lists()
        given = self.data_dir or self.rec_train or self.list_train
        if self.synthetic_data and given:
            raise UserError(f'`synthetic_data` takes the place of {given}: give one of them')
        if self.synthetic_data and self.test_io is not None:
            raise UserError('`test_io` reads samples, and `synthetic_data` has none: leave out one '
                            'of them')
        if self.resume and not self.save_dir:
            raise UserError('`resume` needs the `save_dir` of the run to go on with')
        if self.resume and self.overwrite:
            raise UserError('`resume` and `overwrite` exclude each other: go on with the run, or '
                            'delete it')

    def _check_records(self) -> None:
        if (self.rec_train is None) != (self.rec_val is None):
            missing = 'train' if self.rec_train is None else 'val'
            raise UserError(f'`rec_{missing}` is missing: give both record files, or `data_dir`')
        if self.rec_train and self.data_dir:
            raise UserError('`data_dir` and `rec_train` exclude each other: give one of them')
        if (self.rec_train_idx or self.rec_val_idx) and not self.rec_train:
            raise UserError('`rec_train_idx` and `rec_val_idx` need `rec_train` and `rec_val`')

    def _check_lists(self) -> None:
        lists = ('list_train', 'list_val', 'list_format')
        missing = [name for name in lists if getattr(self, name) is None]
        if missing and len(missing) < len(lists):
            raise UserError(f'`{missing[0]}` is missing: lists of videos need `list_train`, '
                            '`list_val` and `list_format`')
        if self.list_train and self.split is not None:
            raise UserError('`split` and `list_train` exclude each other: UCF-101 has its own '
                            'lists')
        if self.split is not None and not self.data_dir:
            raise UserError('`split` needs `data_dir`, the folder of UCF-101')
        if self.splits and self.split is None:
            raise UserError('`splits` needs `split` 1, 2 or 3')

    @property
    def data(self) -> Optional[str]:
        """What is trained on, for the record: 'synthetic', a path, or None for the embedded set."""
        if self.synthetic_data:
            return 'synthetic'
        return self.rec_train or self.list_train or self.data_dir
