"""The numbers on the figures' axes can be read: they do not overlap, and narrow logarithmic axes have some."""

import itertools

import numpy as np
import pytest
from helpers.run_dirs import row, run_dir

from llpp.report import figures
from llpp.report.collect import collect

pytestmark = pytest.mark.slow


def list_labels(axis):
    """The axis's labels that are in sight, after drawing, with the boxes that they take."""
    figure = axis.axes.figure
    figure.canvas.draw()
    low, high = sorted(axis.get_view_interval())
    found = []
    for place, label in zip(axis.get_majorticklocs(), axis.get_ticklabels(), strict=True):
        if low <= place <= high and label.get_text():
            found.append((label.get_text(), label.get_window_extent()))
    return found


@pytest.mark.parametrize("panel", [figures._plot_learning_panel, figures._plot_selection_panel])
@pytest.mark.parametrize("panels", [1, 3])
def test_numbers_of_images_do_not_overlap_and_name_the_first_and_the_last(panel, panels, tmp_path):
    counts = [1000, 1100, 1300, *range(2000, 27_000, 1000)]
    run_dir(tmp_path, [row(number, count, 0.5, 0.4, 0.6) for number, count in enumerate(counts)])
    (section,) = collect([tmp_path]).sections
    with figures._create_figure(figures.LIGHT, panels, 4.5) as (_, axes):
        panel(axes[0], section, figures.LIGHT, {section.methods[0].label: 0})
        labels = list_labels(axes[0].xaxis)
    assert labels[0][0] == "1,000" and labels[-1][0] == "26,000" and len(labels) > 2
    for (_, left), (_, right) in itertools.pairwise(labels):
        assert left.x1 < right.x0


def test_numbers_that_fit_are_all_there(tmp_path):
    run_dir(tmp_path, [row(number, 10 + 2 * number, 0.5) for number in range(5)])
    (section,) = collect([tmp_path]).sections
    with figures._create_figure(figures.LIGHT, 1, 4.5) as (_, axes):
        figures._plot_learning_panel(axes[0], section, figures.LIGHT, {section.methods[0].label: 0})
        assert [text for text, _ in list_labels(axes[0].xaxis)] == ["10", "12", "14", "16", "18"]


@pytest.mark.parametrize("count", [100, 3000])
@pytest.mark.parametrize(("low", "high"), [(1.3, 1.5), (0.9, 3.0), (0.02, 0.5), (1e-6, 1.0)])
def test_a_logarithmic_axis_has_numbers_however_narrow_it_is(low, high, count):
    rng = np.random.default_rng(0)
    losses = {"true_loss": np.geomspace(low, high, count), "predicted_loss": -0.09 + 1e-4 * rng.random(count)}
    with figures._create_figure(figures.LIGHT, 3, 4.0) as (_, axes):
        figures._plot_losses(axes[0], losses, True, figures.LIGHT, "#d55e00")
        labels = list_labels(axes[0].yaxis)
        assert 3 <= len(labels) <= 12, labels
        texts = [text for text, _ in labels]
        assert len(set(texts)) == len(texts) and all(
            low / 2 < float(text.replace("−", "-")) < high * 2 for text in texts
        )
        for (_, left), (_, right) in itertools.pairwise(list_labels(axes[0].xaxis)):
            assert left.x1 < right.x0
