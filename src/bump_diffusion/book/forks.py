"""Kernels as forks of a process that has imported once what most chapters need.

The imports take seconds of each chapter, longer than many chapters run.
"""

import multiprocessing
import os
from contextlib import suppress
from threading import Thread
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.provisioning import LocalProvisioner

_FORKS = multiprocessing.get_context("forkserver")
_IMPORTED = ["ipykernel.kernelapp", "pandas", "seaborn", "sklearn.decomposition", "torch"]


class _Kernel(_FORKS.Process):
    """A fork with what jupyter_client asks of a `subprocess.Popen`."""

    stdin = stdout = stderr = None

    def poll(self) -> int | None:
        return self.exitcode

    def wait(self) -> int | None:
        self.join()
        return self.exitcode

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, number)


class Forks(LocalProvisioner):
    """Starts the kernels of a manager as forks."""

    async def launch_kernel(self, cmd: list[str], **settings: Any) -> KernelConnectionInfo:
        """Start a kernel with the arguments of the command `cmd` of its specification."""
        _FORKS.set_forkserver_preload(_IMPORTED)
        arguments = cmd[cmd.index("-f") :]  # after the interpreter and the module
        self.process = _Kernel(target=_serve, args=(arguments, settings["env"], os.getcwd()))
        self.process.start()
        self.pid = self.process.pid
        return self.connection_info


def _serve(arguments: list[str], environment: dict[str, str], folder: str) -> None:
    """Be a kernel for as long as the process that asked for it lives."""
    import matplotlib
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()  # an interrupt from the terminal is for the build, which stops its kernels
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    matplotlib.use("module://matplotlib_inline.backend_inline")  # the kernel's own, set too late
    Thread(target=_end_with_parent, daemon=True).start()
    IPKernelApp.launch_instance(argv=arguments)


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)
