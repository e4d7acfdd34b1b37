"""The frozen criteria, put to simulated records whose effects are known."""

import itertools
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from bump_diffusion import cli
from bump_diffusion.config import configure
from bump_diffusion.files import sha256
from bump_diffusion.metrics.evaluation import PROBE_COLUMNS
from bump_diffusion.papers.semantics import confirmed
from bump_diffusion.papers.semantics.confirm import QUANTITIES, Value
from bump_diffusion.papers.semantics.confirmed import judge, plan_next
from bump_diffusion.papers.semantics.criteria import CURE, EDITIONS, FIRST_SEEDS, FROZEN
from bump_diffusion.runs.provenance import FROZEN as FILES
from bump_diffusion.runs.provenance import PACKAGE

STEPS = (0, 250, 500, 1000, 2000, 2500)
FROZEN_DIGESTS = {
    "cure": "1a3e51246a9ad1d3d3dc1bd196b9d509f166dc47432610ba685bb4e4cd48d54f",
    "edition-2": "309b69cc491a27d434416b5d4d7012fc96ffaf0b25daf8e4b1d646627bb01551",
    "routing": "78dde1204ec070954000846eb8783e6feff542060f3f6dee97fdc5dc0970be3e",
}
"""Of the frozen files: a changed one would judge runs that were made for another."""

IDS = itertools.count()


class Simulated(SimpleNamespace):
    """A record that was never made; each differs from all others, as records do."""

    __hash__, __eq__ = object.__hash__, object.__eq__


def simulated(seed=100, added=0.2, moved=(0.8, 0.1), gap=0.4, routed=True, lines=None, **fields):
    """A record of a run in which training adds order, layer 4 takes bumps along, and so on.

    Half of the images show one bump at step 500 and half are right at 1000; the position generated
    can be read from step 500 on, the one requested from step 1000 on, in the trained network, and
    both at once from step 500 on in the untrained one.
    """
    c = configure("quick", seed=seed, **fields)
    rng = np.random.default_rng([seed, *c.id.encode()])
    seen = np.array(STEPS) * c.batch_size
    correct = np.array([0, 0, 0.25, 0.5, 1, 1])
    single = np.array([0, 0, 0.5, 1, 1, 1])
    checkpoints = pd.DataFrame({"step": STEPS, "images_seen": seen, "loss": 0.1})
    checkpoints = checkpoints.assign(
        correct=correct, accuracy=correct, misplaced=single - correct, several=1 - single, none=0.0
    )
    dimension = 2 + abs(rng.normal(1, 0.1))
    for name in ("ablated", "untrained, ablated"):
        checkpoints[f"intrinsic_dimension_of_all_{name}"] = dimension
    probes = []
    for step, axis in itertools.product(STEPS, "xy"):
        late, early = float(step >= 1000), float(step >= 500)
        r2 = {
            ("ablated", "requested"): (0.6 + added) * late,
            ("ablated", "generated"): 0.8 * early,
            ("untrained, ablated", "requested"): 0.6 * early,
            ("untrained, ablated", "generated"): 0.6 * early,
            ("trained", "requested"): 0.99,
            ("untrained", "requested"): 0.99,
        }
        for (features, target), value in r2.items():
            value += rng.normal(0, 0.01) + 0.05 * (axis == "x")
            row = ("sample", 0, "layer4", 64, features, "direct", target, axis, value, step)
            probes.append(row)
        value = added * 2 * (step > 0) + rng.normal(0, 0.01)
        probes.append(
            ("noise", 999, "up3", 64, "trained", "direct", "requested", axis, value, step)
        )
    columns = [*PROBE_COLUMNS, "r2", "step"]
    return Simulated(
        id=f"{c.id}-{next(IDS)}",
        configuration=c,
        checkpoints=checkpoints,
        probes=pd.DataFrame(probes, columns=columns),
        patching=patched(c, moved, routed, rng),
        **images_of(c, gap, rng),
    )


def patched(c, moved, routed, rng):
    """Bumps at the other request's coordinate for a share of the images, by axis."""
    labels = rng.integers(0, c.N, (128, 2)).astype(float)
    tables = []
    for layer in ("", "layer3", "layer4"):
        shares = {"": (0, 0), "layer4": moved}.get(layer, (moved[1], moved[0] if routed else 0))
        other = (labels + c.N / 2) % c.N
        at = np.stack([np.where(np.arange(128) < 128 * s, other[:, i], labels[:, i])
                       for i, s in enumerate(shares)], axis=1)  # fmt: skip
        table = pd.DataFrame(np.hstack([labels, at]), columns=["mu_x", "mu_y", "x", "y"])
        tables.append(table.assign(layer=layer, differ="xy", step=c.steps))
    return pd.concat(tables)


def images_of(c, gap, rng):
    """At each step a share of trained labels is right in x, of these a share in y; of held-out ones
    all are but for the `gap`.
    """
    images, bumps = [], []
    for step, share_x, share_y in zip(STEPS, *shares_of(c), strict=True):
        if not step:
            continue
        for name, count in {"trained": 200, "held-out": 200}.items():
            mu = rng.integers(0, c.N, (count, 2)).astype(float)
            order = np.arange(count) / count
            if name == "trained":
                wrong = np.stack([order >= share_x, order >= share_y], axis=1)
            else:
                wrong = np.repeat((order < gap)[:, None], 2, axis=1)
            start = sum(len(table) for table in images if table["step"].iloc[0] == step)
            table = pd.DataFrame(mu, columns=["mu_x", "mu_y"])
            images.append(table.assign(step=step, set=name, speckled=False))
            found = pd.DataFrame(mu + 3 * wrong, columns=["x", "y"])
            bumps.append(found.assign(step=step, image=start + np.arange(count), amplitude=1.0))
    return {"images": pd.concat(images, ignore_index=True), "bumps": pd.concat(bumps)}


def shares_of(c):
    """Half of the images right in x at 500 steps, in y at 1000; on lines by the spacing."""
    early, late = [0, 0, 0.5, 0.9, 1, 1], [0, 0, 0.2, 0.5, 1, 1]
    if c.axes == "x":
        return (early if c.d_x == 4 else late), [1] * 6
    return early, late


def test_each_quantity_is_the_planted_one():
    run = simulated(added=0.2, moved=(0.8, 0.1), gap=0.4, held_out="latin-32")
    lines = {d: simulated(axes="x", d_x=d, d_y=1.0) for d in (1.0, 4.0)}
    wide = simulated(d_x=1.0, d_y=4.0)
    found = {
        name: quantity(wide if name.startswith(("axes", "placed")) else run, lines)
        for name, quantity in QUANTITIES.items()
    }
    expected = {
        "order-added": (0.2, 0.6),
        "published-order-added": (0, 0.99),
        "order-in-noise": (0.4, 0),
        "disordered-phase": (1, 0),
        "misplaced-phase": (1, np.nan),
        "order-first": (0.375 - 1.167, 1.167),  # levels are reached between checkpoints
        "order-used-x": (0.8, 0),
        "order-used-y": (0.1, 0),
        "routed-apart": (1, np.nan),
        "axes-apart-alone": (1, np.nan),
        "axes-still-apart": (-1, 1),
        "axes-pulled-together": (2, 1),
        "held-out-gap": (0.4, 1),
        "placed-together": (1, np.nan),
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, abs=0.05, nan_ok=True), name
    assert 0.7 < found["two-dimensional"].effect < 1.3
    # Generation passes A, C, C, C, C, the trained network A, B, C, C, C, the untrained A, C, ...
    assert found["sides-agree"] == pytest.approx((0.28 / 0.48 - 1, 1))
    assert found.keys() == FROZEN.criteria.keys()


def judged(monkeypatch, **effects):
    """The table of verdicts for the larger images, eight seeds of them with these effects."""
    runs = {name: [] for name in FROZEN.conditions}
    runs["larger"] = [(simulated(seed, **effects), {}) for seed in range(100, 108)]
    return judge(runs)


def test_planted_effects_are_shown_and_absent_ones_negligible(monkeypatch):
    table = judged(monkeypatch, added=0.2, moved=(0.9, 0.9), routed=False)
    table = table[table["condition"] == "larger"].set_index("criterion")["verdict"]
    assert table["order-added"] == table["order-in-noise"] == table["order-used-x"] == "shown"
    assert table["published-order-added"] == "negligible"
    table = judged(monkeypatch, added=0.0, moved=(0.0, 0.0), routed=False)
    table = table[table["condition"] == "larger"].set_index("criterion")["verdict"]
    assert table["order-added"] == table["order-in-noise"] == "negligible"
    edge = judged(monkeypatch, added=FROZEN.criteria["order-added"].smallest)
    edge = edge[(edge["condition"] == "larger") & (edge["criterion"] == "order-added")].iloc[0]
    assert edge["verdict"] == "not yet" and edge["more"] > 0


def test_seeds_are_added_until_decided_or_capped(monkeypatch):
    table = judged(monkeypatch)
    wanted = list(plan_next(table))
    undecided = set(table.loc[table["verdict"] == "not yet", "condition"])
    assert "larger" in undecided
    assert len(wanted) == 1 + FIRST_SEEDS * (len(undecided) - 1)
    assert {c.seed for c in wanted[0]} == {108} and next(iter(wanted[0])).N == 32
    assert {c.seed for plan in wanted[1:] for c in plan} == set(range(100, 100 + FIRST_SEEDS))
    capped = table.assign(seeds=[FROZEN.conditions[name].cap for name in table["condition"]])
    assert list(plan_next(capped)) == []
    assert list(plan_next(table.assign(verdict="shown"))) == []


def test_the_command_adds_seeds_until_each_cell_is_decided_or_capped(monkeypatch):
    """Effects one to four standard deviations from the smallest: most are decided, some capped."""
    made = {name: [] for name in FROZEN.conditions}

    def value(run, baseline):
        name, seed = run
        rng = np.random.default_rng([seed, len(name)])
        return Value(1 + 0.1 * (len(name) % 4) + rng.normal(0, 0.1))

    def make(wanted, **options):
        for name, condition in FROZEN.conditions.items():
            made[name] += [c.seed for run, _ in condition.plan() for c in run if c in wanted]

    criteria = {
        name: criterion.model_copy(update={"smallest": 1.0, "kind": "mean"})
        for name, criterion in FROZEN.criteria.items()
    }
    easier = FROZEN.model_copy(update={"criteria": criteria})
    monkeypatch.setitem(EDITIONS, "claims", easier)
    monkeypatch.setattr(confirmed, "QUANTITIES", dict.fromkeys(QUANTITIES, value))
    monkeypatch.setattr(
        confirmed, "find_runs", lambda name, frozen: [((name, seed), {}) for seed in made[name]]
    )
    monkeypatch.setattr(cli, "_make", make)
    result = CliRunner().invoke(cli.main, ["run", "claims", "--until-decided"])
    assert result.exit_code == 0, result.output
    table = judge({name: confirmed.find_runs(name, easier) for name in easier.conditions}, easier)
    for name, seeds in made.items():
        cap = FROZEN.conditions[name].cap
        assert seeds == list(range(100, 100 + len(seeds)))
        undecided = (table.loc[table["condition"] == name, "verdict"] == "not yet").any()
        assert len(seeds) == cap if undecided else FIRST_SEEDS <= len(seeds) <= cap
    assert (table["verdict"] == "shown").any() and (table["verdict"] == "not yet").any()


@pytest.mark.parametrize(
    "arguments",
    ["claims", "routing", "density --until-decided", "claims --until-decided --seeds 3"],
)
def test_the_frozen_criteria_are_not_asked_for_other_runs(run, arguments):
    done = run("bump-diffusion", "run", *arguments.split(), check=2)
    assert "claims or cure or routing and --until-decided go together" in done.stderr


def test_seeds_count_in_their_order_up_to_the_first_missing(monkeypatch):
    held = {seed: simulated(seed) for seed in (100, 101, 103)}
    store = SimpleNamespace(get=lambda c, extras: held.get(c.seed))
    found = [run.configuration.seed for run, _ in confirmed.find_runs("sinusoidal", store)]
    assert found == [100, 101]
    assert {c.seed for c in confirmed.plan_finished(store)} == held.keys()


@pytest.mark.parametrize(("frozen", "first"), [(FROZEN, 100), (CURE, 200)])
def test_conditions_name_runs_that_differ_in_their_seed_alone(frozen, first):
    for condition in frozen.conditions.values():
        plan = condition.plan()
        assert len(plan) == condition.cap
        runs = [next(iter(run)) for run, _ in plan]
        assert [c.seed for c in runs] == list(range(first, first + condition.cap))
        same = {c.model_dump_json(exclude={"seed", "split"}) for c in runs}
        assert len(same) == 1
        for run, lines in plan:
            (c,) = run
            assert {line.d_x for line in lines} == ({c.d_x, c.d_y} if condition.baseline else set())
            assert {line.seed for line in lines} <= {c.seed}
            assert {line.held_out for line in lines} <= {c.held_out}


def test_frozen_files_are_as_they_were():
    files = {path.stem: sha256(path) for path in PACKAGE.glob(FILES)}
    assert files == FROZEN_DIGESTS
