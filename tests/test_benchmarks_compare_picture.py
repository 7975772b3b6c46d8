"""The picture of the comparison; no label covers another where there is room."""
import comparison
import cv2
import numpy as np
import pytest
from compare_networks import IMAGE
from compare_picture import arrange, as_png, overlap
from hypothesis import given, settings
from hypothesis import strategies as st

FRAME = (0, 0, 1000, 800)


def test_overlap_by_hand():
    assert overlap((0, 0, 4, 3), (1, 2, 9, 9)) == 3 and overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0


def test_a_lone_bubble_has_its_name_at_the_right_and_one_at_the_edge_at_the_left():
    boxes = arrange([(100, 100, 10), (995, 700, 5)], [(50, 10), (60, 10)], FRAME)
    assert boxes == [((114, 95, 164, 105), 4), ((926, 695, 986, 705), 4)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(100, 900), st.integers(100, 700)), min_size=1, max_size=8))
def test_few_labels_never_cover_each_other_or_leave_the_frame(centres):
    placed = [box for box, _ in arrange([(x, y, 7) for x, y in centres],
                                        [(60, 11)] * len(centres), FRAME)]
    for number, box in enumerate(placed):
        assert np.isclose(overlap(box, FRAME), 60 * 11)
        assert all(overlap(box, other) == 0 for other in placed[:number])


@pytest.fixture(scope='module')
def rows():
    return comparison.rows()


def drawn(rows):
    image = cv2.imdecode(np.frombuffer(as_png(rows), np.uint8), cv2.IMREAD_COLOR)
    assert image is not None and image.std() > 5
    return image


def near(image, colour, tolerance=30):
    """Pixels near a colour, given as '#rrggbb'."""
    bgr = np.array([int(colour[i:i + 2], 16) for i in (5, 3, 1)])
    return int((np.abs(image.astype(int) - bgr).max(axis=2) < tolerance).sum())


@pytest.mark.parametrize('which', ['all', 'images', 'one', 'unpublished'])
def test_the_picture_has_a_panel_for_each_kind(rows, which):
    chosen = {'all': rows, 'images': rows[:len(IMAGE)], 'one': rows[:1],
              'unpublished': [row for row in rows if row['published_top1'] is None]}[which]
    image = drawn(chosen)
    assert image.shape[1] == (770 if which in ('images', 'one') else 1540)


def test_a_bubble_is_as_large_as_its_network(rows):
    """Four times the parameters: four times the area, whatever else is drawn in the colour."""
    filled = next(row for row in rows if row['network'] == 'a2_resnet50')
    areas = [
        near(drawn([{**filled, 'parameters': size}]), '#d8806d', 12)
        for size in (0, 25_000_000, 100_000_000)
    ]
    assert (areas[2] - areas[0]) / (areas[1] - areas[0]) == pytest.approx(4, rel=.15)
