"""Listings and ELF files of images, read back by outside tools."""

import io
import itertools
import shutil
import subprocess
from pathlib import Path

import pytest

from tramposim.kernel.declaration import parse_prototype
from tramposim.kernel.image import Image
from tramposim.report.elf import image_elf
from tramposim.report.listing import frame_text, image_lines, listing_text
from tramposim.spec import Arch, Kernel
from tramposim.study.image import scenario_image
from tramposim.study.scenario import parse_scenario


def built(arch: Arch) -> Image:
    prototype = parse_prototype("int f(int, void *)")
    return scenario_image(Kernel(arch), prototype, parse_scenario("fsession+cookie+fexit"))


@pytest.mark.parametrize("arch", list(Arch))
def test_lines_cover_the_code(arch: Arch) -> None:
    image = built(arch)
    assert b"".join(line.code for line in image_lines(image)) == image.code


@pytest.mark.parametrize("arch", list(Arch))
def test_every_call_target_and_frame_slot_is_named(arch: Arch) -> None:
    image = built(arch)
    text = listing_text(image, "title")
    for name in set(image.symbols.values()) - {"f+0x0"}:
        assert name in text
    for slot in ("argument 0", "func_meta", "session cookie 0", "run_ctx", "return value"):
        assert f"; {slot}\n" in text


def test_frame_rows_are_ordered_and_do_not_overlap() -> None:
    frame = built(Arch.ARM64).frame
    assert frame is not None
    ends = [(slot.offset, slot.offset + slot.size) for slot in frame.slots]
    assert all(high[0] >= low[1] for high, low in itertools.pairwise(ends))
    assert len(frame_text(frame, "title").splitlines()) == 3 + len(frame.slots)


@pytest.mark.parametrize("arch", list(Arch))
def test_elf_is_read_by_elftools(arch: Arch) -> None:
    elffile = pytest.importorskip("elftools.elf.elffile")
    image = built(arch)
    elf = elffile.ELFFile(io.BytesIO(image_elf(image, "the image")))
    assert elf.get_machine_arch() == {Arch.X86_64: "x64", Arch.ARM64: "AArch64"}[arch]
    text = elf.get_section_by_name(".text")
    assert (text["sh_addr"], text.data()) == (image.address, image.code)
    symbols = {s.name: s["st_value"] for s in elf.get_section_by_name(".symtab").iter_symbols()}
    assert symbols["the_image"] == image.address
    assert symbols["__bpf_tramp_enter"] in image.symbols
    parts = {part.name: part.start for part in image.parts}
    assert symbols["call_original"] == image.address + parts["call original"]


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_elf_is_read_by_objdump(tmp_path: Path) -> None:
    path = tmp_path / "image.elf"
    path.write_bytes(image_elf(built(Arch.X86_64), "image"))
    text = subprocess.run(
        ["objdump", "-d", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert "<__bpf_tramp_enter>" in text
    assert "<enter_fentry_0>:" in text
    assert "(bad)" not in text
