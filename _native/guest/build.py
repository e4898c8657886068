"""Builds the guest runtime: C and assembly of this directory to relocatable ELF objects.

The objects and `manifest.json` are written to `tramposim/_native/guest/` and committed, so
that only somebody who changes the runtime needs the compiler (the clang of the `ziglang`
package, the `cc` extra). The build is reproducible byte for byte: no paths, times or debug
information enter an object. Run it from anywhere: `python _native/guest/build.py`.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OBJECTS = ROOT / "tramposim" / "_native" / "guest"

sys.path.insert(0, str(ROOT))

from tramposim.kernel.structs import structs  # noqa: E402
from tramposim.spec import Arch  # noqa: E402

COMMON_FLAGS = (
    "-std=gnu11",
    "-O2",
    "-ffreestanding",
    "-fno-builtin",
    "-fno-strict-aliasing",
    "-fno-strict-overflow",
    "-fno-asynchronous-unwind-tables",
    "-fno-unwind-tables",
    "-fno-jump-tables",
    "-fno-vectorize",
    "-fno-slp-vectorize",
    "-fno-unroll-loops",
    "-fno-pic",
    "-fno-ident",
    "-fno-addrsig",
    "-ffunction-sections",
    "-fstack-protector-strong",
    "-falign-functions=16",
    "-Wall",
    "-Wno-unused-function",
    "-Wno-gcc-compat",
    "-Werror",
)

X86_64_FLAGS = (
    "-march=x86-64",
    "-mcmodel=kernel",
    "-mno-red-zone",
    "-mstack-alignment=8",
    "-mno-mmx",
    "-mno-sse",
    "-mno-sse2",
    "-mno-80387",
    "-msoft-float",
    "-fomit-frame-pointer",
    "-fcf-protection=branch",
    "-mfunction-return=thunk-extern",
    "-mretpoline-external-thunk",
    "-Xclang",
    "-target-feature",
    "-Xclang",
    "+slow-incdec",
    "-mstack-protector-guard=tls",
    "-mstack-protector-guard-reg=gs",
    "-mstack-protector-guard-symbol=__stack_chk_guard",
)

ARM64_FLAGS = (
    "-mgeneral-regs-only",
    "-fno-omit-frame-pointer",
    "-momit-leaf-frame-pointer",
    "-fno-optimize-sibling-calls",
    "-mno-outline-atomics",
    "-mstack-protector-guard=sysreg",
    "-mstack-protector-guard-reg=sp_el0",
)


@dataclass(frozen=True)
class Variant:
    """One object: its name, the compiler's target and what sets it apart."""

    name: str
    arch: Arch
    target: str
    flags: tuple[str, ...]


BUILDS = {"-6.12": 612, "-7.0": 700, "": 702}
"""Suffix of a variant's name -> the kernel whose structure it has, as the sources test it:
6.12, 7.0 and 7.1, 7.2 and later."""


def _kernel(suffix: str) -> str:
    return f"-DGUEST_KERNEL={BUILDS[suffix]}"


def _x86_64(suffix: str) -> Variant:
    flags = (*X86_64_FLAGS, _kernel(suffix))
    return Variant(f"x86_64{suffix}", Arch.X86_64, "x86_64-unknown-linux-gnu", flags)


def _arm64(name: str, cpu: str, protection: str, suffix: str) -> Variant:
    canary = structs(Arch.ARM64).offset("task_struct.stack_canary")
    flags = (
        *ARM64_FLAGS,
        f"-mstack-protector-guard-offset={canary}",
        f"-march={cpu}",
        f"-mbranch-protection={protection}",
        _kernel(suffix),
    )
    return Variant(f"{name}{suffix}", Arch.ARM64, "aarch64-unknown-linux-gnu", flags)


VARIANTS = tuple(
    variant
    for suffix in reversed(BUILDS)
    for variant in (
        _x86_64(suffix),
        _arm64("arm64-lse-pac", "armv8-a+lse", "pac-ret", suffix),
        _arm64("arm64-lse", "armv8-a+lse", "none", suffix),
        _arm64("arm64-llsc-pac", "armv8-a", "pac-ret", suffix),
        _arm64("arm64-llsc", "armv8-a", "none", suffix),
    )
)
"""All objects."""

ONLY = {"_x86_64": Arch.X86_64, "_arm64": Arch.ARM64}
"""Sources whose stem ends so are for that architecture alone."""


def sources(arch: Arch) -> list[Path]:
    """The source files of an architecture, in the order in which they are linked."""
    found = []
    for path in sorted([*HERE.glob("*.c"), *HERE.glob("*.S")]):
        only = next((a for suffix, a in ONLY.items() if path.stem.endswith(suffix)), arch)
        if only is arch:
            found.append(path)
    return found


def layout_header(arch: Arch) -> str:
    """`layout.h`: every offset, size and the like of `tramposim.kernel.structs` as a macro."""
    layout = structs(arch)
    lines = ["/* Generated from tramposim/kernel/structs.py. */"]
    for member, offset in sorted(layout.offsets.items()):
        lines.append(f"#define {member.replace('.', '_').upper()} {offset}")
    for name, size in sorted(layout.sizes.items()):
        lines.append(f"#define SIZEOF_{name.upper()} {size}")
    return "\n".join(lines) + "\n"


def _zig(arguments: Iterable[str], cwd: Path) -> None:
    command = [sys.executable, "-m", "ziglang", *arguments]
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": str(cwd / "cache")}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments)}\n{done.stderr}")


def build_variant(variant: Variant, work: Path) -> bytes:
    """Compiles and links one variant in the directory `work`; returns the object's bytes."""
    work.mkdir(parents=True, exist_ok=True)
    (work / "layout.h").write_text(layout_header(variant.arch))
    objects = []
    for source in sources(variant.arch):
        name = f"{source.stem}.o"
        (work / source.name).write_bytes(source.read_bytes())
        objects.append(name)
    for header in HERE.glob("*.h"):
        (work / header.name).write_bytes(header.read_bytes())
    flags = [*COMMON_FLAGS, *variant.flags]
    for source, name in zip(sources(variant.arch), objects, strict=True):
        _zig(
            ["clang", "-target", variant.target, *flags, "-I.", "-c", source.name, "-o", name],
            work,
        )
    _zig(["ld.lld", "-r", "--build-id=none", "-o", "runtime.o", *objects], work)
    return (work / "runtime.o").read_bytes()


def source_digest(arch: Arch) -> str:
    """sha256 over what an object is made from: sources, headers, layout and flags."""
    digest = hashlib.sha256(layout_header(arch).encode())
    for path in [*sources(arch), *sorted(HERE.glob("*.h"))]:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    for variant in VARIANTS:
        if variant.arch is arch:
            digest.update(repr((variant, COMMON_FLAGS)).encode())
    return digest.hexdigest()


def build(variants: Iterable[Variant] = VARIANTS) -> dict[str, bytes]:
    """Builds the variants; name -> object."""
    chosen = list(variants)
    with tempfile.TemporaryDirectory() as directory, ThreadPoolExecutor(2) as pool:
        built = pool.map(lambda v: build_variant(v, Path(directory) / v.name), chosen)
        return {variant.name: code for variant, code in zip(chosen, built, strict=True)}


def manifest(objects: dict[str, bytes]) -> dict[str, object]:
    """What `manifest.json` records about the objects."""
    return {
        "compiler": f"ziglang {version('ziglang')}",
        "variants": {
            variant.name: {
                "arch": variant.arch.value,
                "file": f"{variant.name}.o",
                "sources_sha256": source_digest(variant.arch),
                "object_sha256": hashlib.sha256(objects[variant.name]).hexdigest(),
            }
            for variant in VARIANTS
        },
    }


def _write(path: Path, content: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_bytes(content)
    temporary.replace(path)


def main() -> None:
    """Builds all variants into the package."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    objects = build()
    OBJECTS.mkdir(parents=True, exist_ok=True)
    for name, code in objects.items():
        _write(OBJECTS / f"{name}.o", code)
    text = json.dumps(manifest(objects), indent=2) + "\n"
    _write(OBJECTS / "manifest.json", text.encode())


if __name__ == "__main__":
    main()
