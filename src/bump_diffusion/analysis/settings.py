"""Settings: what sets groups of runs apart, seeds aside."""

from bump_diffusion.config import Configuration


def setting(c: Configuration) -> str:
    """Name the setting under which a run is judged.

    That is its data set where it is imbalanced, else how the label enters and whether training was
    warmed up; and what else of these is not as usual.
    """
    usual = Configuration()
    if c.d_x != c.d_y:
        parts = [f"d_x = {c.d_x:g} and d_y = {c.d_y:g}"]
        parts += [f"with {c.conditioning}"] * (c.conditioning != usual.conditioning)
    else:
        parts = [f"{c.conditioning} {'with warm-up' if c.warmup else 'at full rate'}"]
        parts += [f"at d = {c.d_x:g}"] * (c.d_x != usual.d_x)
    parts += [f"without {c.held_out}"] * (c.held_out != usual.held_out)
    parts += [f"drawn as {c.rendering}"] * (c.rendering != usual.rendering)
    parts += [f"injected as {c.injection}"] * (c.injection != usual.injection)
    parts += [f"with stripes for {c.stripes:.0%}"] * (c.stripes != usual.stripes)
    parts += [f"at sigma = {c.sigma:g}"] * (c.sigma != usual.sigma)
    parts += [f"on {c.N} × {c.N} pixels"] * (c.N != usual.N)
    parts += [f"in {c.precision}"] * (c.precision != usual.precision)
    return " ".join(parts)
