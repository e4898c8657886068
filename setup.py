"""Build of the native modules: `_native/NAME.pyx` becomes `tramposim._native.NAME`.

Their interfaces (`.pyi` for Python, `.pxd` for Cython) stand beside the package's other
modules in `tramposim/_native/`, so that type checkers and `cimport` find them by name.
"""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

NATIVE_MODULES: tuple[str, ...] = (
    "arm64_asm",
    "arrivals",
    "asmplan",
    "batch",
    "blocktrace",
    "caches",
    "callcosts",
    "callpath",
    "corestate",
    "cpucalls",
    "engine",
    "eventlog",
    "fetch",
    "frontend",
    "histogram",
    "hostcpu",
    "loopbuffer",
    "lsu",
    "memory",
    "pipeline",
    "prediction",
    "predictors",
    "rng",
    "rules",
    "runqueue",
    "scheduler",
    "sharing",
    "steady",
    "system",
    "tlbs",
    "tracer",
    "translator",
    "uarch",
    "unicorn_api",
    "warmth",
    "x86_64_asm",
    "x86_64_table",
)

EXTENSIONS = [
    Extension(
        f"tramposim._native.{name}",
        [f"_native/{name}.pyx"],
        extra_compile_args=["-O3", "-fno-strict-aliasing", "-ffp-contract=off"],
    )
    for name in NATIVE_MODULES
]

# Cython does not see that these interfaces changed, because sources and interfaces lie apart:
# a module built against an older layout of a shared struct would read garbage.
INTERFACES = [path.stat().st_mtime for path in Path("tramposim/_native").glob("*.pxd")]
GENERATED = [path.stat().st_mtime for path in Path("build/cython/_native").glob("*.c")]
STALE = bool(GENERATED) and max(INTERFACES) > min(GENERATED)

setup(
    options={"build_ext": {"parallel": True}},
    ext_modules=cythonize(
        EXTENSIONS,
        include_path=["."],
        build_dir="build/cython",
        force=STALE,
        compiler_directives={
            "language_level": 3,
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "embedsignature": True,
        },
    ),
)
