"""Where the names of bubbles go, so that none covers another: plain geometry, in pixels."""

# Of a label, seen from its bubble: direction, and which point of it is nearest (0 left or bottom, 1
# right or top).
SIDES = ((1, 0, 0, .5), (-1, 0, 1, .5), (0, 1, .5, 0), (0, -1, .5, 1),
         (.7, .7, 0, 0), (.7, -.7, 0, 1), (-.7, .7, 1, 0), (-.7, -.7, 1, 1))
DISTANCES = (4, 18, 36, 60, 90)  # from the bubble's edge


def place(bubbles, sizes, frame):
    """The box (left, bottom, right, top) of each label, and its distance from its bubble.

    `bubbles` are (x, y, radius), `sizes` the (width, height) of their labels, `frame` the box to
    stay in. One after the other takes the nearest place that covers nothing, or else the one that
    covers least.
    """
    taken, placed = [(x - r, y - r, x + r, y + r) for x, y, r in bubbles], []
    for (x, y, radius), (width, height) in zip(bubbles, sizes):
        options = []
        for distance in DISTANCES:
            for across, up, anchor_x, anchor_y in SIDES:
                left = x + across * (radius + distance) - anchor_x * width
                bottom = y + up * (radius + distance) - anchor_y * height
                box = left, bottom, left + width, bottom + height
                covered = sum(overlap(box, other)
                              for other in taken) + width * height - overlap(box, frame)
                options.append((round(covered, 3), distance, len(options), box))
        _, distance, _, box = min(options)
        taken.append(box)
        placed.append((box, distance))
    return placed


def overlap(a, b):
    """The area that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
