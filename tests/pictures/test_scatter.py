"""The plot of a family has each point at its place, and the marked one in another colour."""

from detrex_hub.pictures import Point, scatter
from tests.pictures.test_png import decoded

MARKED = b"\x1f\x5f\xd6"


def places(content, colour=MARKED):
    _, _, palette, rows = decoded(content)
    colours = [palette[at : at + 3] for at in range(0, len(palette), 3)]
    at = colours.index(colour)
    return [(x, y) for y, row in enumerate(rows) for x, one in enumerate(row) if one == at]


def middle(points):
    return tuple(sum(one[axis] for one in points) / len(points) for axis in (0, 1))


def test_the_marked_model_is_where_it_belongs():
    others = [Point(20_000_000, 40.0), Point(200_000_000, 60.0)]
    low = middle(places(scatter([*others, Point(30_000_000, 45.0, marked=True)])))
    high = middle(places(scatter([*others, Point(150_000_000, 55.0, marked=True)])))
    assert low[0] < high[0]
    assert low[1] > high[1]


def test_the_order_of_the_points_changes_nothing():
    points = [Point(10**7 * i, 40 + i, marked=i == 3) for i in range(1, 6)]
    assert scatter(points) == scatter(points[::-1])


def test_models_with_equal_values_are_drawn():
    assert places(scatter([Point(10**7, 40.0), Point(10**7, 40.0, marked=True)]))


def test_a_plot_is_small():
    points = [Point(10**6 * (5 + i * 17 % 900), 30 + i % 30) for i in range(90)]
    assert len(scatter([*points, Point(10**8, 50.0, marked=True)])) < 60_000
