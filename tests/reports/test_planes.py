import pytest

from lazytorch.reports import Figure, Plane, Report
from lazytorch.reports.figures import draw

FIGURE = Figure("paths", Plane("paths", "u", "v", by="neuron", each="tau", sign="sign", rays="teacher"))
PATHS = [
    {"tau": tau, "neuron": neuron, "sign": sign, "u": tau * step, "v": sign * step}
    for tau in (0.1, 2.0)
    for step in (0, 1, 3)
    for neuron, sign in (("a", 1), ("b", -1))
]
RAYS = [{"u": 0.6, "v": 0.8, "sign": 1}, {"u": -1.0, "v": 0.0, "sign": -1}]


def drawn(axes, name):
    return [line for line in axes.lines if line.get_gid() == name]


def test_paths_are_drawn_from_start_to_end_over_rays_and_the_circle(write, only):
    write({"seed": 0}, tables={"paths": PATHS, "teacher": RAYS}, report=Report(FIGURE))
    canvas, notes = draw(only(), FIGURE)
    small, large = canvas.axes
    assert notes == [] and [axes.get_title(loc="left") for axes in canvas.axes] == ["tau = 0.1", "tau = 2"]
    assert [line.get_xdata().tolist() for line in drawn(large, "path")] == [[0, 2, 6]] * 2
    up, down = drawn(small, "path")
    assert up.get_ydata().tolist() == [0, 1, 3] and down.get_ydata().tolist() == [0, -1, -3]
    assert up.get_color() != down.get_color()
    assert [line.get_ydata().tolist() for line in drawn(small, "end")] == [[3], [-3]]
    assert [line.get_ydata().tolist() for line in drawn(small, "start")] == [[0], [0]]
    ray, other = drawn(small, "ray")
    assert ray.get_color() == up.get_color() and other.get_color() == down.get_color()
    assert ray.get_ydata()[1] / ray.get_xdata()[1] == pytest.approx(0.8 / 0.6) and other.get_xdata()[1] < -3
    assert [patch.get_gid() for patch in small.patches] == ["circle"]
    assert small.get_xlim()[1] == pytest.approx(3.36) and large.get_xlim()[1] == pytest.approx(6.72)


def test_a_plane_without_paths_is_left_out(write, only):
    write({"seed": 0}, report=Report(FIGURE))
    assert draw(only(), FIGURE) == (None, ["No paths: not measured in any of these runs."])


def test_points_that_are_not_finite_are_left_out(write, only):
    lost = [row | ({"v": float("inf")} if row["v"] == 3 else {}) for row in PATHS]
    write({"seed": 0}, tables={"paths": lost}, report=Report(FIGURE))
    canvas, _ = draw(only(), FIGURE)
    assert [line.get_ydata().tolist() for line in drawn(canvas.axes[0], "path")] == [[0, 1], [0, -1, -3]]
