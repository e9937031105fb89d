import subprocess
import sys

import numpy as np
import pytest

from privassay.accountant import renyi, show
from privassay.accountant.bounds import Interval, ProvenBound
from privassay.accountant.errors import ParameterError

GAUSS = ProvenBound(mu=Interval(1.0, 1.0), adjacency="add-remove", unit="user")
WIDE = renyi.RenyiCurve(renyi.ORDERS, renyi.rdp_zcdp(0.5), lower=GAUSS)
NONE = ProvenBound(mu=Interval(0.0, float("inf")), adjacency="add-remove")
FREE = ProvenBound(mu=Interval(0.0, 0.0), adjacency="add-remove")


@pytest.fixture
def plt():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot

    yield matplotlib.pyplot
    matplotlib.pyplot.close("all")


def test_frames_hold_the_curves():
    frame = show.to_frame(WIDE, [0.0, 1.0, 4.0])
    assert list(frame.columns) == ["epsilon", "delta_lower", "delta_upper"]
    for row in frame.itertuples():
        assert Interval(row.delta_lower, row.delta_upper) == WIDE.delta(row.epsilon)
    frame = show.tradeoff_frame(WIDE, [0.0, 0.1, 1.0])
    assert list(frame.columns) == ["fpr", "tpr_lower", "tpr_upper"]
    for row in frame.itertuples():
        assert Interval(row.tpr_lower, row.tpr_upper) == WIDE.tpr(row.fpr)
    for each in (GAUSS, WIDE, NONE, FREE):
        frame = show.to_frame(each)
        assert len(frame) == 61 and not frame.isna().any().any()
        assert show.tradeoff_frame(each)["fpr"].is_monotonic_increasing
    assert show.to_frame(GAUSS)["delta_upper"].iloc[-1] <= 1.0001e-12


def test_frames_refuse_bad_numbers():
    with pytest.raises(ParameterError):
        show.to_frame(GAUSS, [-1.0])
    with pytest.raises(ParameterError):
        show.tradeoff_frame(GAUSS, [1.1])


@pytest.mark.parametrize("each", [GAUSS, WIDE, NONE, FREE])
def test_plot_draws_what_is_proven(plt, each, tmp_path):
    left, right = show.plot(each)
    left.figure.savefig(tmp_path / "figure.png")
    end = each.epsilon(1e-5).upper
    assert left.get_title().startswith("no finite" if np.isinf(end) else "epsilon at most")
    assert "nats" in left.get_xlabel() and left.get_yscale() == right.get_yscale() == "log"
    labels = {line.get_label(): line for line in right.get_lines()}
    rates, best = labels["proven upper limit"].get_data()
    assert (best == [each.tpr(float(rate)).upper for rate in rates]).all()
    assert (labels["guessing"].get_xdata() == labels["guessing"].get_ydata()).all()
    assert ("lower limit" in labels) == (each in (WIDE, NONE))


def test_plot_titles_are_rounded_up(plt):
    left, right = show.plot(GAUSS)
    assert left.get_title() == "epsilon at most 4.378 at delta 1e-5"
    assert right.get_title() == "at most 9.24 % true at 1 % false positives"


def test_plot_on_given_axes(plt):
    _, axes = plt.subplots(2, 1)
    left, right = show.plot(GAUSS, axes)
    assert left is axes[0] and right is axes[1]
    with pytest.raises(ParameterError, match="two axes"):
        show.plot(GAUSS, axes[0])


def test_html_is_escaped_and_rounded():
    table = show.html(GAUSS)
    assert "<td>4.377</td><td>4.378</td>" in table and "<td>user</td>" in table
    odd = ProvenBound(mu=Interval(1.0, 1.0), adjacency="add-remove", method="<b>&")
    assert "&lt;b&gt;&amp;" in show.html(odd) and "<b>" not in show.html(odd)
    assert "<td>inf</td>" in show.html(NONE) and "adjacency" not in show.html(WIDE)


def test_importing_needs_neither_pandas_nor_matplotlib():
    code = (
        "import sys, privassay.accountant.show, privassay.accountant.statement;"
        "assert not {'pandas', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
