"""What programs saw in booted kernels, they see here."""

from pathlib import Path

import pytest

from tramposim.spec import Arch
from tramposim.study.observe import observe_capture

KERNELS = [
    *(f"x86_64-{version}-default" for version in ("6.12.107", "7.0.13", "7.1.13", "7.3-rc7")),
    *(
        f"x86_64-7.2.13-{variant}"
        for variant in ("default", "its", "mitoff", "srso", "srsoalias", "stuff", "unret")
    ),
    *(f"arm64-{version}-max" for version in ("6.12.107", "7.0.13", "7.1.13", "7.2.13", "7.3-rc7")),
    "arm64-7.2.13-a72",
]


@pytest.mark.parametrize("arch", list(Arch))
def test_smoke_records(shared: Path, arch: Arch) -> None:
    checks = list(observe_capture(shared / "golden" / f"smoke-{arch}.jsonl.xz"))
    assert len(checks) == 5
    assert [check.line for check in checks if check.problem] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", KERNELS)
def test_every_record_with_observed_values(shared: Path, name: str) -> None:
    checks = list(observe_capture(shared / "golden" / f"{name}-trampolines.jsonl.xz"))
    assert checks
    assert [check.line for check in checks if check.problem] == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["x86_64-7.2.13-default", "x86_64-7.3-rc7-default"])
def test_programs_on_many_functions(shared: Path, name: str) -> None:
    checks = list(observe_capture(shared / "golden" / f"{name}-multi.jsonl.xz"))
    assert len(checks) == 39
    assert [check.line for check in checks if check.problem] == []
