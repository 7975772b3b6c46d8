"""Labels of bubbles: none covers another where there is room."""
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gluon_a2.compare.labels import overlap, place

FRAME = (0, 0, 1000, 800)


def test_overlap_by_hand():
    assert overlap((0, 0, 4, 3), (1, 2, 9, 9)) == 3 and overlap((0, 0, 1, 1), (1, 0, 2, 1)) == 0


def test_a_lone_bubble_has_its_name_at_the_right_and_one_at_the_edge_at_the_left():
    boxes = place([(100, 100, 10), (995, 700, 5)], [(50, 10), (60, 10)], FRAME)
    assert boxes == [((114, 95, 164, 105), 4), ((926, 695, 986, 705), 4)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(100, 900), st.integers(100, 700)), min_size=1, max_size=8))
def test_few_labels_never_cover_each_other_or_leave_the_frame(centres):
    placed = [
        box for box, _ in place([(x, y, 7) for x, y in centres], [(60, 11)] * len(centres), FRAME)
    ]
    for number, box in enumerate(placed):
        assert np.isclose(overlap(box, FRAME), 60 * 11)
        assert all(overlap(box, other) == 0 for other in placed[:number])
