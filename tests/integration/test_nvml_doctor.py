"""What doctor says of NVML, of its devices, and of VRAM in Nsight."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support.nvml import GIB, device, instance, nvml_environment
from tests.support.run import run_python

PROGRAM = """
import json
from gpu_narration.cli import findings
from gpu_narration.cuda import share
share.namespace_reason = lambda: ""
findings.NVML_PATIENCE_S = {patience_s}
print(json.dumps([finding.as_object() for finding in findings.{look}()]))
"""


def _look(directory, machine, look="_nvml", patience_s=60, env=None):
    """The findings of one look at a scripted machine."""
    (directory / "machine.txt").write_text("\n".join(machine) + "\n")
    done = run_python(
        PROGRAM.format(look=look, patience_s=patience_s),
        cwd=directory,
        env={**nvml_environment(directory), **(env or {})},
    )
    return json.loads(done.stdout)


def test_each_device_is_one_line_with_what_can_be_read(tmp_path):
    """GIVEN one GPU WHEN looked at THEN its line has memory, the version and the processes."""
    nvml, gpu = _look(tmp_path, [device(3 * GIB, 16 * GIB)])

    assert (nvml["ok"], nvml["found"]) == (
        True,
        "driver 570.00; devices are counted as CUDA counts them",
    )
    assert (gpu["subject"], gpu["ok"], gpu["found"]) == (
        "gpu0",
        True,
        (
            "GPU-aaaa Fake GPU at 00000000:01:00.0, 3072 of 16384 MiB used (memory v2); "
            "processes are told apart"
        ),
    )


def test_where_the_order_is_not_cudas_for_sure_it_says_what_to_do(tmp_path):
    """GIVEN two GPUs and no CUDA WHEN looked at THEN the line names the variable."""
    nvml, *_ = _look(tmp_path, [device(GIB), device(GIB, uuid="GPU-bbbb")])

    assert "by PCI bus" in nvml["found"]
    assert nvml["todo"] == "CUDA_DEVICE_ORDER=PCI_BUS_ID makes CUDA count the same way"


def test_a_lost_gpu_is_a_finding_and_not_the_end_of_the_look(tmp_path):
    """GIVEN a lost GPU beside a healthy one WHEN looked at THEN both have their lines."""
    _, lost, healthy = _look(tmp_path, [device(GIB, flags="lost"), device(GIB, uuid="GPU-bbbb")])

    assert (lost["ok"], healthy["ok"]) == (False, True)
    assert "GpuIsLost" in lost["found"]


def test_an_instance_names_its_gpu(tmp_path):
    """GIVEN MIG WHEN looked at THEN the instance's line tells whose part it is."""
    _, gpu = _look(tmp_path, [device(GIB, uuid="GPU-cccc"), instance(GIB, uuid="MIG-1111")])

    assert "MIG-1111 Fake GPU" in gpu["found"]
    assert "an instance of GPU-cccc" in gpu["found"]


def test_processes_that_cannot_be_told_apart_have_the_reason(tmp_path):
    """GIVEN NVML that refuses the list WHEN looked at THEN the line says why."""
    _, gpu = _look(tmp_path, [device(GIB, flags="processes=4")])

    assert gpu["found"].endswith(
        "processes are not told apart: NoPermission: Insufficient Permissions"
    )


def test_a_driver_that_hangs_does_not_hang_the_doctor(tmp_path):
    """GIVEN a call of ten minutes WHEN looked at THEN the finding says that nothing answered."""
    findings = _look(tmp_path, ["sleep_ms 600000", device(GIB)], patience_s=0.5)

    assert [(finding["subject"], finding["ok"]) for finding in findings] == [
        ("NVML", False),
        ("NVML", True),
    ]
    assert "did not answer" in findings[0]["found"]


def _nsys(directory: Path, version: str) -> dict[str, str]:
    """A PATH on which nsys tells this version."""
    program = directory / "nsys"
    program.write_text(f"#!/bin/sh\necho 'NVIDIA Nsight Systems version {version}'\n")
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


@pytest.mark.parametrize(
    ("version", "ok", "found"),
    [
        ("2025.3.1.90-253135822126v0", False, "Nsight Systems 2025.3 opens our reports and draws no VRAM"),
        ("2026.2.1.100-1", False, "Nsight Systems 2026.2 opens our reports and draws no VRAM"),
        ("2026.3.1.12-1", True, "Nsight Systems 2026.3 draws VRAM"),
        ("2027.1.1.1-1", True, "Nsight Systems 2027.1 draws VRAM"),
    ],
)  # fmt: skip
def test_an_nsight_that_draws_no_vram_is_warned_of(tmp_path, version, ok, found):
    """GIVEN nsys on PATH WHEN looked at THEN its version decides."""
    [finding] = _look(tmp_path, [], look="_counters", env=_nsys(tmp_path, version))

    assert (finding["ok"], finding["found"]) == (ok, found)


def test_without_nsys_the_first_version_that_draws_is_told(tmp_path):
    """GIVEN no nsys WHEN looked at THEN the line says which viewers draw VRAM."""
    [finding] = _look(tmp_path, [], look="_counters", env={"PATH": str(tmp_path)})

    assert finding["found"] == "VRAM is drawn by Nsight Systems 2026.3 and newer"
