"""The committed objects are what the committed sources build to, byte for byte."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
OBJECTS = ROOT / "tramposim" / "_native" / "guest"
MANIFEST = json.loads((OBJECTS / "manifest.json").read_text())


@pytest.fixture(scope="module")
def build() -> ModuleType:
    path = ROOT / "_native" / "guest" / "build.py"
    spec = importlib.util.spec_from_file_location("guest_build", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["guest_build"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(MANIFEST["variants"]))
def test_object_is_the_recorded_one(name: str) -> None:
    entry = MANIFEST["variants"][name]
    digest = hashlib.sha256((OBJECTS / entry["file"]).read_bytes()).hexdigest()
    assert digest == entry["object_sha256"]


def test_objects_are_newer_than_their_sources(build: ModuleType) -> None:
    for variant in build.VARIANTS:
        recorded = MANIFEST["variants"][variant.name]["sources_sha256"]
        assert build.source_digest(variant.arch) == recorded, "run _native/guest/build.py"


def test_rebuilding_gives_the_same_bytes(build: ModuleType) -> None:
    if importlib.util.find_spec("ziglang") is None:
        pytest.skip("the guest compiler (pip install 'tramposim[cc]') is not installed")
    compiler = f"ziglang {version('ziglang')}"
    if compiler != MANIFEST["compiler"]:
        pytest.skip(f"objects were built by {MANIFEST['compiler']}, here is {compiler}")
    for name, code in build.build().items():
        assert code == (OBJECTS / f"{name}.o").read_bytes(), name
