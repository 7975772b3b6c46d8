"""Reading without training: every image once, and the damaged named."""
import pytest
import tiny

from gluon_a2 import data
from gluon_a2.errors import UserError
from gluon_a2.run.folder import Options
from gluon_a2.train.reading import measure


@pytest.mark.parametrize('images, read', [(0, 18), (5, 5), (99, 18)])
def test_counts_what_is_read_and_names_what_is_damaged(tmp_path, caplog, images, read):
    source = data.open_source(data.digits_folder(), 'train')
    first = data.epoch_order(20, tiny.RECIPE.seed, 0)[:5]
    bad = [i for i in range(20) if i not in first][:2]
    for split, damaged in (('train', bad), ('val', [])):
        with data.RecordWriter(tmp_path / f'{split}.rec') as writer:
            for i in range(20):
                writer.write(b'no image' if i in damaged else source.read(i), int(source.labels[i]))
    count, damaged, seconds = measure(tiny.RECIPE,
                                      Options(data_dir=str(tmp_path), num_data_workers=0), images)
    assert (count, damaged) == (read, 2 if read == 18 else 0) and seconds > 0
    assert all((f'damaged: {tmp_path}/train.rec#{i}' in caplog.text) == (read == 18) for i in bad)


def test_synthetic_data_cannot_be_read():
    with pytest.raises(UserError, match='--test-io reads images, and --synthetic-data has none'):
        measure(tiny.RECIPE, Options(synthetic_data=3), 0)


def test_no_less_than_none(images):
    with pytest.raises(UserError, match='--test-io must be 0'):
        measure(tiny.RECIPE, Options(data_dir=str(images)), -1)
