import io

import cv2
import numpy as np
import pytest
from PIL import Image

from gluon_a2.visualization import Attention, BlockAttention, draw_animation, draw_sheet
from gluon_a2.visualization.sheet import DIM, OPACITY, PALETTE, heat, percent, selection


def block(name, size, n, seed):
    rng = np.random.default_rng(seed)
    positions = int(np.prod(size))
    b, v = (rng.dirichlet(np.full(shape[1], 0.3), shape[0]).astype(np.float32)
            for shape in ((n, positions), (positions, n)))
    return BlockAttention(name, 'double attention', size, v, b)


def seen(times, frames, seed=0):
    pictures = np.random.default_rng(seed).integers(0, 256, (frames, 35, 35, 3), np.uint8)
    return Attention('net', pictures, (('cat', 0.75), ('dog', 0.25)),
                (block('one', (times, 5, 7), 11, seed + 1), block('two',
                                                                  (times, 3, 2), 13, seed + 2)))


def test_percent():
    assert [percent(share) for share in (1, 0.12345, 0.1, 0.0999, 0.012345, 0)] == [
        '100.0 %', '12.3 %', '10.0 %', '9.99 %', '1.23 %', '0.00 %']


def test_heat_shows_the_dimmed_picture_at_0_and_the_colour_at_1():
    picture = np.zeros((4, 6, 3), np.uint8)
    picture[:2] = [255, 0, 0]
    drawn = heat(np.array([[0.0, 1.0], [0.0, 0.5]]), picture)  # cells of 2×3 pixels
    assert drawn.shape == (4, 6, 3)
    np.testing.assert_allclose(drawn[:2, :3], DIM / 3)  # red without its colour
    np.testing.assert_allclose(drawn[2:, :3], 0)
    yellow = drawn[0, 3] - (1 - OPACITY) * DIM / 3
    assert np.ptp(drawn[:2, 3:], axis=(0, 1)).max() == 0 and yellow[0] > yellow[1] > 2 * yellow[2]
    assert 0 < drawn[3, 5].mean() < drawn[0, 5].mean()


def test_selection_gives_the_commonest_their_colours_and_greys_the_rest():
    v = np.full((11, 9), 0.01, np.float32)
    chosen = [4, 4, 4, 8, 8, 0, 1, 2, 3, 5, 6]  # eight descriptors, for seven colours
    v[np.arange(11), chosen] = [0.92] * 10 + [0.46]
    b = np.full((9, 11), 1 / 11, np.float32)
    drawn = selection(BlockAttention('unit', 'double attention', (1, 1, 11), v, b))
    hexed = ['#{:02x}{:02x}{:02x}'.format(*row) for row in np.rint(255 * drawn).astype(int)]
    assert hexed[:5] == [PALETTE[0]] * 3 + [PALETTE[1]] * 2
    assert hexed[5:10] == list(PALETTE[2:7])
    # half the share, so paler
    np.testing.assert_allclose(drawn[10], 1 - 0.75 * (1 - 0x99 / 255), rtol=1e-6)


@pytest.mark.parametrize('times, frames, rows', [(1, 1, 2), (2, 5, 4)])
def test_the_sheet_has_a_row_for_each_block_and_time(times, frames, rows, tmp_path):
    draw_sheet(seen(times, frames), (20, 8, 0), [[3, 1], [12, 0]], tmp_path / 'sheet.png')
    sheet = cv2.imread(str(tmp_path / 'sheet.png'))
    assert sheet.shape[1] == 100 * (2 * 0.5 + 7 * 1.45)
    assert sheet.shape[0] == int(100 * (1.5 * 0.5 + rows * 1.45 + 2 * 0.36) + 1e-6)
    # below the headline, the input once a row
    first_column = (sheet[:, 60:180] < 250).any(axis=(1, 2))
    assert np.count_nonzero(np.diff(first_column.astype(int)) == 1) >= rows


def test_the_position_and_the_descriptors_change_the_sheet_where_they_are_shown(tmp_path):
    def sheet(point=(20, 8, 0), chosen=((3, 1), (12, 0))):
        draw_sheet(seen(1, 1), point, chosen, tmp_path / 'sheet.png')
        return cv2.imread(str(tmp_path / 'sheet.png')).astype(int)

    def columns(one, other):
        at = np.flatnonzero((one != other).any(axis=(0, 2)))
        return sorted({int((x / 100 - 0.45) // 1.45) for x in at})

    assert columns(sheet(), sheet()) == []
    assert columns(sheet(), sheet(chosen=((3, 2), (12, 0)))) == [2]
    assert columns(sheet(), sheet(point=(2, 30, 0))) == [0, 3, 4, 6]


def test_the_animation_has_a_page_for_each_frame(tmp_path):
    draw_animation(seen(2, 5), (20, 8, 0), [[3], [12]], tmp_path / 'sheet.gif')
    with Image.open(io.BytesIO((tmp_path / 'sheet.gif').read_bytes())) as gif:
        pages = []
        for page in range(gif.n_frames):
            gif.seek(page)
            pages.append(np.asarray(gif.convert('RGB')).astype(int))
        assert (gif.n_frames, gif.info['duration'], gif.info['loop']) == (5, 300, 0)
    assert pages[0].shape == (int(100 * (0.75 + 2 * 1.45 + 2 * 0.36)), 970, 3)
    assert all((one != other).any() for one, other in zip(pages, pages[1:]))
