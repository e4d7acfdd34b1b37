import itertools

from hypothesis import given
from hypothesis import strategies as st

from bump_diffusion.config import configure
from bump_diffusion.runs.schedule import LARGEST_RATIO, LEARNS, next_to_evaluate, steps_between


def evaluated(curve, coarse):
    """The accuracies of all steps that end up evaluated, for a network that learns by `curve`."""
    accuracy = {}
    for before, step in itertools.pairwise(coarse):
        accuracy |= {before: curve(before), step: curve(step)}
        while (chosen := next_to_evaluate(accuracy, before, step)) is not None:
            accuracy[chosen] = curve(chosen)
    return accuracy


@given(st.integers(130, 2500), st.floats(1, 30), st.booleans())
def test_checkpoints_are_dense_wherever_the_network_learns(middle, steepness, falls):
    def curve(step):
        share = 1 / (1 + (middle / step) ** steepness) if step else 0.0
        return 1 - share if falls else share

    accuracy = evaluated(curve, configure("quick").evaluation_steps)
    for before, after in itertools.pairwise(sorted(accuracy)[1:]):
        low, high = sorted([accuracy[before], accuracy[after]])
        learns = high >= LEARNS[0] and low <= LEARNS[1]
        # Steps are whole numbers: half a step may be rounded away at either end.
        assert not learns or (after - 0.5) / (before + 0.5) <= LARGEST_RATIO


def test_nothing_is_added_where_nothing_is_learned_or_after_step_0():
    coarse = configure("quick").evaluation_steps
    assert sorted(evaluated(lambda step: 0.0, coarse)) == coarse
    assert sorted(evaluated(lambda step: 1.0 if step else 0.0, coarse)) == coarse


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_steps_between_lie_between_and_differ(first, more):
    between = steps_between(first, first + more)
    assert between == sorted(set(between))
    assert all(first < step < first + more for step in between)
