"""Which core model stands for a machine, by its /proc/cpuinfo."""

from __future__ import annotations

from tramposim.study.native import core_of_host, cpu_name

EMERALD_RAPIDS = """\
processor\t: 0
vendor_id\t: GenuineIntel
cpu family\t: 6
model\t\t: 207
model name\t: INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.60GHz
stepping\t: 2
"""
GRAVITON_2 = """\
processor\t: 0
BogoMIPS\t: 243.75
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x3
CPU part\t: 0xd0c
"""


def test_a_machine_is_known_by_its_identification() -> None:
    assert core_of_host(EMERALD_RAPIDS) == "golden-cove"
    assert core_of_host(GRAVITON_2) == "neoverse-n1"
    assert core_of_host(EMERALD_RAPIDS.replace("207", "1")) is None
    assert core_of_host("") is None


def test_a_machine_is_called_what_the_system_calls_it() -> None:
    assert cpu_name(EMERALD_RAPIDS) == "INTEL(R) XEON(R) PLATINUM 8581C CPU @ 2.60GHz"
    assert cpu_name("") == "unknown CPU"
