"""Compile every .pyx in this folder into the directory given as --out.

Run by rust/esp_core/build.rs, so that one `pip install .` yields the Rust and
the Cython extension; also usable alone: python cython/build.py --out DIR.
"""

import argparse
import tempfile
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Distribution, Extension
from setuptools.command.build_ext import build_ext

HERE = Path(__file__).resolve().parent


def build(out: Path, work: Path) -> None:
    """Compile all modules into *out*/hipgw, with intermediates in *work*."""
    extensions = [
        Extension(
            f"hipgw.{pyx.stem}",
            [str(pyx)],
            extra_compile_args=["-O3"],
            # maturin's `strip` leaves this module alone, so the linker strips it.
            extra_link_args=["-s"],
        )
        for pyx in sorted(HERE.glob("*.pyx"))
    ]
    dist = Distribution(
        {
            "name": "hipgw",
            "ext_modules": cythonize(extensions, build_dir=str(work / "c"), language_level=3),
        }
    )
    command = build_ext(dist)
    command.build_lib, command.build_temp = str(out), str(work / "o")
    command.finalize_options()
    # OUT_DIR outlives interpreters and renamed modules: a stale .so would enter the wheel.
    for stale in (out / "hipgw").glob("*.so"):
        stale.unlink()
    command.run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work_folder:
        build(args.out, Path(work_folder))
