"""Runs notebooks as papermill does, with a chapter's faults named in one sentence.

Papermill loads engines from the entry points of installed packages (pyproject.toml). This one is
made the default when it is loaded, so that a plain `papermill` command uses it too.
"""

import click
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines

from bump_diffusion.book.parameters import check_values, declared_types
from bump_diffusion.errors import FailedRuns, UserError


class Engine(NBClientEngine):
    """Papermill's engine, except for how it fails.

    Parameters that a chapter does not take are refused before any cell runs. A notebook that ends
    in a `UserError` raises it. One whose kernel dies raises ClickException, which names the cell.
    """

    @classmethod
    def execute_managed_notebook(cls, nb_man, *args, **kwargs):
        notebook = nb_man.nb
        if types := declared_types(notebook):
            injected = notebook.metadata.papermill.get("parameters", {})
            # Of papermill's own are those that --inject-paths adds.
            ours = {n: v for n, v in injected.items() if not n.startswith("PAPERMILL_")}
            check_values(ours, types)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        try:
            super().execute_managed_notebook(nb_man, *args, **kwargs)
        except (DeadKernelError, RuntimeError) as error:  # the second where no kernel starts
            begun = [c for c in code if c.metadata.papermill["status"] != nb_man.PENDING]
            last = f"cell {len(begun)} ({first_line(begun[-1].source)!r})" if begun else "no cell"
            raise click.ClickException(
                f"The kernel ended in {last}, killed or for want of memory: {error}."
            ) from None
        names = (UserError.__name__, FailedRuns.__name__)
        for output in (output for cell in code for output in cell.outputs):
            if output.output_type == "error" and output.ename in names:
                raise UserError(output.evalue)


def first_line(source: str) -> str:
    """Return the line by which a message names a cell."""
    return source.strip().partition("\n")[0]


papermill_engines.register(None, Engine)
