"""Where most runs leave phase A and enter phase C."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bump_diffusion.analysis.boundaries import boundary, log_edges, median_phases


def checkpoints(single, placed):
    """The trained checkpoints of a run with the given order parameters, alike on both sides."""
    columns = {"single": single, "placed": placed, "manifold": single, "order": placed}
    return pd.DataFrame(
        {"record": "a", "images_seen": np.arange(1, len(single) + 1) * 10, **columns}
    )


SHARES = st.lists(st.floats(0, 1), min_size=6, max_size=6)


@given(SHARES, SHARES, st.sampled_from("BC"))
def test_a_boundary_comes_no_earlier_with_a_higher_threshold(single, placed, phase):
    table = checkpoints(single, placed)
    lower, base, higher = (
        np.nan_to_num(boundary(median_phases(table, "generation", single=s), phase), nan=np.inf)
        for s in (0.4, 0.5, 0.6)
    )
    assert lower <= base <= higher


@pytest.mark.parametrize("side", ["generation", "representation"])
def test_the_boundary_is_where_the_rule_says(side):
    table = checkpoints([0.2, 0.6, 0.6, 0.9, 0.9], [0, 0.1, 0.2, 0.7, 0.9])
    phases = median_phases(table, side)
    assert "".join(phases["phase"]) == "ABBCC"
    # Half way, in the logarithm, from the checkpoint before.
    assert boundary(phases, "B") == pytest.approx((10 * 20) ** 0.5)
    assert boundary(phases, "C") == pytest.approx((30 * 40) ** 0.5)
    assert np.isnan(boundary(median_phases(table, side, placed=0.95, order=0.95), "C"))


def test_where_runs_are_in_three_phases_most_have_reached_the_second():
    in_a, in_b, in_c = ([0.1], [0]), ([0.9], [0.1]), ([0.9], [0.9])
    for runs, phase, share in (
        ([in_a, in_a, in_a], "A", 1),
        ([in_a, in_b, in_c], "B", 1 / 3),
        ([in_a, in_b, in_b], "B", 2 / 3),
        ([in_a, in_a, in_c, in_c], "A", 1 / 2),  # of four runs two are not most
    ):
        table = pd.concat(checkpoints(*run).assign(record=i) for i, run in enumerate(runs))
        (row,) = median_phases(table, "generation").to_dict("records")
        assert row == {"phase": phase, "share": pytest.approx(share)}


def test_a_run_counts_where_only_others_have_a_checkpoint():
    run = checkpoints([0.1, 0.9, 0.9, 0.9], [0, 0.1, 0.9, 0.9])
    others = [run.iloc[[0, 1, 3]], run.iloc[[0, 2, 3]], run]
    table = pd.concat(other.assign(record=i) for i, other in enumerate(others))
    phases = median_phases(table, "generation")
    assert phases.index.tolist() == [10, 20, 30, 40]
    assert phases["phase"].tolist() == ["A", "B", "C", "C"]
    assert phases["share"].tolist() == pytest.approx([1, 2 / 3, 2 / 3, 1])


def test_edges_lie_half_way_in_the_logarithm():
    assert log_edges(pd.Index([1, 4, 16])) == pytest.approx([1, 2, 8, 16])
