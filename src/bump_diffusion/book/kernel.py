"""Runs a chapter's notebook, in a kernel of the interpreter that runs this."""

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any

import click
import nbformat
import papermill
from jupyter_client import AsyncKernelManager
from jupyter_client.kernelspec import KernelSpecManager
from papermill.exceptions import PapermillExecutionError

from bump_diffusion.book.engine import first_line
from bump_diffusion.book.forks import Forks

SILENT = "--IPKernelApp.log_level=50"
"""A kernel reports as an error that it is interrupted when its notebook has ended."""


def run_notebook(source: Path, target: Path, parameters: dict[str, Any]) -> nbformat.NotebookNode:
    """Run a notebook in its folder, with parameters, and write it to `target` as far as it comes.

    Raises UserError for what the notebook refuses; ClickException, which names the chapter and the
    cell, if it fails or its kernel dies.
    """
    # Each kernel has sockets of its own: by default those of two side by side are the same.
    with tempfile.TemporaryDirectory(prefix="kernel-") as sockets:
        # Without folders to search, "python3" is this interpreter, whatever is installed elsewhere.
        here = KernelSpecManager(kernel_dirs=[])
        manager = AsyncKernelManager(
            kernel_name="python3", kernel_spec_manager=here, transport="ipc", ip=f"{sockets}/socket"
        )
        manager.provisioner = Forks(kernel_spec=manager.kernel_spec, parent=manager)
        try:
            return papermill.execute_notebook(
                source,
                target,
                parameters=parameters,
                cwd=source.parent,
                kernel_name="python3",
                progress_bar=False,
                stderr_file=sys.stderr,
                km=manager,
                extra_arguments=[SILENT],
            )
        except click.ClickException as error:  # a UserError too
            error.message = f"Chapter {source.stem}: {error.message}"
            raise
        except PapermillExecutionError as error:
            raise click.ClickException(
                f"Chapter {source.stem} failed in cell {error.exec_count} "
                f"({first_line(error.source)!r}): {error.ename}: {error.evalue}. "
                f"The notebook as it stopped: {target}"
            ) from None
        finally:  # with a manager that it is given, papermill leaves the kernel running
            asyncio.run(manager.shutdown_kernel(now=True))
