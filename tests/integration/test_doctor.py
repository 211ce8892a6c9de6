"""What ``gpu-narration doctor`` says of a driver, and of what auto takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.cuda_programs import cuda_environment
from tests.support.programs import command


def _doctor(tmp_path: Path, **settings: str) -> dict[str, dict[str, object]]:
    done = command("doctor", "--json", cwd=tmp_path, env=cuda_environment(**settings))
    assert done.returncode == 0, done.stderr
    return {str(finding["subject"]): finding for finding in json.loads(done.stdout)}


def test_doctor_shows_the_driver_and_its_devices(tmp_path: Path) -> None:
    found = _doctor(tmp_path, FAKE_CUDA_DEVICES="2")

    assert found["CUDA driver"]["found"] == "supports CUDA 12.4"
    assert [found[name]["found"] for name in ("cuda:0", "cuda:1")] == [
        "GPU-face0000-0000-0000-0000-000000000000 Fake GPU 0 at 0000:01:00.0",
        "GPU-face0000-0000-0000-0000-000000000001 Fake GPU 1 at 0000:02:00.0",
    ]


def test_doctor_says_which_backend_auto_takes_and_why(tmp_path: Path) -> None:
    backend = _doctor(tmp_path)["backend auto"]

    assert backend["ok"] is True
    assert str(backend["found"]).startswith("driver: the driver works")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"FAKE_CUDA_DEVICES": "0"}, "CUDA cannot be initialised: CUDA_ERROR_NO_DEVICE"),
        ({"FAKE_CUDA_VERSION": "10020"}, "the driver is too old: it supports CUDA 10.2"),
        ({"FAKE_CUDA_INIT": "34"}, "CUDA cannot be initialised: CUDA_ERROR_STUB_LIBRARY"),
        ({"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES is '': the program is to see no GPU"),
        ({"LD_LIBRARY_PATH": ""}, "there is no NVIDIA driver"),
    ],
)
def test_doctor_says_why_the_driver_cannot_be_used(
    tmp_path: Path, settings: dict[str, str], reason: str
) -> None:
    found = _doctor(tmp_path, **settings)
    driver, backend = found["CUDA driver"], found["backend auto"]

    assert (driver["ok"], backend["ok"]) == (False, False)
    assert str(driver["found"]).startswith(reason)
    assert str(backend["found"]).startswith(f"none: {reason}")
    assert driver["todo"]


def test_doctor_shows_what_the_program_may_see(tmp_path: Path) -> None:
    found = _doctor(tmp_path, CUDA_VISIBLE_DEVICES="0")["CUDA driver"]["found"]

    assert "CUDA_VISIBLE_DEVICES=0" in str(found)


def _ffi(tmp_path: Path, module: str) -> dict[str, object]:
    done = command("doctor", "--json", "--ffi", module, cwd=tmp_path, env=cuda_environment())
    assert done.returncode == 0, done.stderr
    return next(
        finding for finding in json.loads(done.stdout) if finding["subject"] == f"ffi {module}"
    )


def test_doctor_says_what_of_a_binding_can_be_traced(tmp_path: Path) -> None:
    (tmp_path / "binding.py").write_text("import ctypes\nlib = ctypes.CDLL(None)\nabs = lib.abs\n")
    found = _ffi(tmp_path, "binding")

    assert (found["ok"], found["found"]) == (
        True,
        "can be traced: 1 libraries of ctypes or cffi; no name escapes",
    )


def test_doctor_names_what_would_escape(tmp_path: Path) -> None:
    """GIVEN a module that imported a function of zlib, WHEN doctor looks at zlib."""
    (tmp_path / "user.py").write_text("from zlib import adler32\n")
    done = command(
        "doctor", "--json", "--ffi", "user", "--ffi", "zlib", cwd=tmp_path, env=cuda_environment()
    )
    found = {finding["subject"]: finding for finding in json.loads(done.stdout)}

    assert found["ffi zlib"]["ok"] is False
    assert "user.adler32 (adler32)" in found["ffi zlib"]["found"]


def test_doctor_says_why_a_module_cannot_be_looked_at(tmp_path: Path) -> None:
    assert "ModuleNotFoundError" in str(_ffi(tmp_path, "no_such_binding")["found"])


def test_doctor_says_that_a_module_has_nothing_to_trace(tmp_path: Path) -> None:
    assert "no functions of C code" in str(_ffi(tmp_path, "string")["found"])
