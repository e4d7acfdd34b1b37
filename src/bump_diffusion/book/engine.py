"""Lets a plain `papermill` command end in one sentence when a chapter's parameters are refused.

Papermill loads engines from the entry points of installed packages (pyproject.toml). This one runs
every notebook as papermill's own does, and is made the default when it is loaded.
"""

from papermill.engines import NBClientEngine, papermill_engines

from bump_diffusion.errors import FailedRuns, UserError


class Engine(NBClientEngine):
    """Papermill's engine, except that a notebook that ends in a `UserError` raises it."""

    @classmethod
    def execute_managed_notebook(cls, nb_man, *args, **kwargs):
        super().execute_managed_notebook(nb_man, *args, **kwargs)
        for cell in nb_man.nb.cells:
            for output in cell.get("outputs", []):
                names = (UserError.__name__, FailedRuns.__name__)
                if output.output_type == "error" and output.ename in names:
                    raise UserError(output.evalue)


papermill_engines.register(None, Engine)
