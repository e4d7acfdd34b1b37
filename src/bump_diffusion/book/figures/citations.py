"""How to cite the companion and the paper."""

from typing import Any

import yaml
from IPython.display import Markdown

from bump_diffusion.files import ROOT


def show_citations() -> Markdown:
    """Show this companion and the paper, as `CITATION.cff` has them, in BibTeX."""
    companion = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    year = companion["date-released"].year
    entries = [
        _to_bibtex("bump-diffusion", {**companion, "year": year}),
        *(_to_bibtex("paper", reference) for reference in companion["references"]),
    ]
    return Markdown("```bibtex\n{}\n```".format("\n\n".join(entries)))


def _to_bibtex(key: str, work: dict[str, Any]) -> str:
    people = [a.get("name") or f"{a['family-names']}, {a['given-names']}" for a in work["authors"]]
    names = [f"{{{name}}}" if "," not in name else name for name in people]
    fields = {"title": f"{{{work['title']}}}", "author": " and ".join(names), "year": work["year"]}
    fields |= {"note": work.get("notes"), "version": work.get("version")}
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@misc{{{key},", *lines, "}"])
