"""What heatmaps say about themselves: values by hand, precision, gradients."""

import math

import pytest
import torch

from llpp.errors import ConfigError
from llpp.heads.evidence import (
    SUMMARY,
    append_evidence,
    compute_log_shares,
    count_appended,
    count_evidence,
    gather_evidence,
    measure_distinctness,
    measure_overlaps,
    summarise_joints,
)
from llpp.types import Features

NOWHERE = -1000.0  # the raw value of a cell without a share


def maps_of(*shares):
    """Raw maps (1, K, h, w) whose softmax is these shares; a constant is added, which must not matter."""
    values = torch.tensor(shares, dtype=torch.float32)
    return values.log().clamp(min=NOWHERE)[None] + 3


def on_row(*shares, side=9):
    """A square map with these shares in its first row."""
    values = [[0.0] * side for _ in range(side)]
    for column, share in shares:
        values[0][column] = share
    return values


def describe(shares):
    summary = summarise_joints(compute_log_shares(maps_of(shares)))
    assert summary.shape == (1, 1, len(SUMMARY))
    return dict(zip(SUMMARY, summary[0, 0].tolist(), strict=True))


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_one_certain_cell_is_a_peak_without_spread():
    found = describe(on_row((8, 1.0)))
    assert found["maximum"] == pytest.approx(1) and found["log_maximum"] == pytest.approx(0, abs=1e-6)
    assert found["entropy"] == pytest.approx(0, abs=1e-6) and found["second_peak"] == pytest.approx(0, abs=1e-6)
    assert found["peak_share"] == pytest.approx(1) and found["spread"] == pytest.approx(1e-3)
    assert (found["x"], found["y"]) == pytest.approx((1, -1)), "the last column, the first row"


def test_two_peaks_are_seen_as_two():
    """Three quarters in the first column and a quarter in the last, of nine."""
    found = describe(on_row((0, 0.75), (8, 0.25)))
    assert found["maximum"] == found["peak_share"] == pytest.approx(0.75)
    assert found["log_maximum"] == pytest.approx(math.log(0.75))
    assert found["second_peak"] == pytest.approx(1 / 3)
    nats = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert found["entropy"] == pytest.approx(nats / math.log(81))
    assert found["x"] == pytest.approx(-0.5)
    assert found["spread"] == pytest.approx(math.sqrt(0.75), rel=1e-5), "0.75 · 0.5² + 0.25 · 1.5²"


def test_the_shoulder_of_a_peak_is_no_second_peak():
    found = describe(on_row((3, 0.5), (4, 0.3), (5, 0.2)))
    assert found["second_peak"] == pytest.approx(0, abs=1e-6) and found["peak_share"] == pytest.approx(1)
    assert describe(on_row((3, 0.5), (6, 0.5)))["second_peak"] == pytest.approx(1), "three cells away it is one"


def test_a_flat_map_has_the_largest_entropy():
    found = describe([[1 / 81] * 9] * 9)
    assert found["entropy"] == pytest.approx(1) and found["maximum"] == pytest.approx(1 / 81)
    assert (found["x"], found["y"]) == pytest.approx((0, 0), abs=1e-6)


def test_overlaps_are_one_for_equal_maps_and_zero_for_apart_ones():
    left, right = on_row((0, 1.0)), on_row((8, 1.0))
    half = on_row((0, 0.5), (8, 0.5))
    overlaps = measure_overlaps(compute_log_shares(maps_of(left, right, half, left)))
    root = math.sqrt(0.5)
    pairs = {(0, 1): 0, (0, 2): root, (0, 3): 1, (1, 2): root, (1, 3): 0, (2, 3): root}
    assert overlaps[0].tolist() == pytest.approx(list(pairs.values()), abs=1e-6)


def test_distinctness_is_what_a_place_says_about_the_joint():
    left, right = on_row((0, 1.0)), on_row((8, 1.0))
    half = on_row((0, 0.5), (8, 0.5))

    def measure(*maps):
        return measure_distinctness(compute_log_shares(maps_of(*maps))).item()

    assert measure(left, right) == pytest.approx(1)
    assert measure(left, left) == pytest.approx(0, abs=1e-6)
    assert measure(left) == 0, "one joint cannot be confused"
    # The mean map has 3/4 in the first cell and 1/4 in the last; the maps' entropies are 0 and ln 2.
    mean_entropy = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert measure(left, half) == pytest.approx((mean_entropy - math.log(2) / 2) / math.log(2))


def test_confident_maps_that_are_all_alike_are_found_out():
    """What the maximum cannot see: every joint is sure, and all are sure of one place."""
    sure = on_row((4, 1.0))
    alike = compute_log_shares(maps_of(sure, sure, sure))
    assert summarise_joints(alike)[0, :, SUMMARY.index("maximum")].tolist() == pytest.approx([1, 1, 1])
    assert measure_distinctness(alike).item() == pytest.approx(0, abs=1e-6)


def test_everything_together_is_as_long_as_promised_and_ends_with_distinctness():
    log_shares = compute_log_shares(noise(2, 5, 8, 8))
    gathered = gather_evidence(log_shares)
    assert gathered.shape == (2, count_evidence(5)) == (2, 8 + 10 + 1)
    assert torch.equal(gathered[:, -1], measure_distinctness(log_shares))
    assert gather_evidence(compute_log_shares(noise(1, 1, 8, 8))).shape == (1, count_evidence(1))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_maps_are_described_in_single_precision(dtype):
    maps = (4 * noise(3, 4, 8, 8)).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        reduced = gather_evidence(compute_log_shares(maps))
    assert reduced.dtype == torch.float32
    torch.testing.assert_close(reduced, gather_evidence(compute_log_shares(maps.float())), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1.0, 300.0])
def test_gradients_are_finite_for_flat_and_for_certain_maps(scale):
    maps = (scale * noise(2, 3, 8, 8)).requires_grad_()
    gather_evidence(compute_log_shares(maps)).sum().backward()
    assert maps.grad.isfinite().all()


def test_evidence_is_appended_only_where_it_is_asked_for():
    vector, maps = noise(2, 6), noise(2, 3, 8, 8)
    features = Features({}, noise(2, 4, 8, 8), maps)
    assert append_evidence("none", vector, features) is vector and count_appended("none", 3) == 0
    extended = append_evidence("summary", vector, features)
    assert extended.shape == (2, 6 + count_appended("summary", 3)) and torch.equal(extended[:, :6], vector)


def test_what_cannot_work_is_a_sentence():
    with pytest.raises(ConfigError, match=r"head\.evidence='all' is invalid; expected none or summary"):
        count_appended("all", 3)
    with pytest.raises(ConfigError, match=r"which this backbone does not give; use head\.evidence=none"):
        count_appended("summary", 0)
    with pytest.raises(ConfigError, match=r"Features have none; pass Features\(…, heatmaps=…\)"):
        append_evidence("summary", noise(2, 6), Features({}, noise(2, 4, 8, 8)))
