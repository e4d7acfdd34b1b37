"""Compiles unet.c to unet.wasm: `python -m bump_diffusion.live.build`.

Only who changes unet.c needs the compiler, the package ziglang from the package index. Of one
version it gives the same bytes on every machine.
"""

import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from bump_diffusion.errors import UserError
from bump_diffusion.files import write_atomically

ZIGLANG = "0.17.1"
"""The version of the compiler."""

FLAGS = (
    *("-target", "wasm32-freestanding", "-msimd128", "-Os", "-ffast-math", "-Wall", "-Werror"),
    *("-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all"),
)

SOURCE = Path(__file__).with_name("unet.c")
WASM = SOURCE.with_suffix(".wasm")


def compile_network() -> bytes:
    """Compile unet.c; return the WebAssembly. Raises UserError without the compiler's version."""
    try:
        found = version("ziglang")
    except PackageNotFoundError:
        found = "missing"
    if found != ZIGLANG:
        raise UserError(
            f"The compiler ziglang is {found}, it must be {ZIGLANG}: "
            f"pip install ziglang=={ZIGLANG}."
        )
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / WASM.name
        command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, SOURCE.name, "-o", str(target)]
        done = subprocess.run(command, cwd=SOURCE.parent, capture_output=True, text=True)
        if done.returncode != 0:
            raise click.ClickException(f"unet.c was not compiled.\n{done.stderr}")
        return target.read_bytes()


@click.command()
def main() -> None:
    """Compile unet.c to unet.wasm."""
    write_atomically(WASM, compile_network())
    click.echo(f"{WASM.name}: {WASM.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
