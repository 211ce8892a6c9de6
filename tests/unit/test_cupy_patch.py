"""``patch_cupy()`` leaves CuPy what it is to the program, and is exactly undone."""

from __future__ import annotations

import contextlib
import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from gpu_narration import BackendUnavailableError, OptionError, cuda
from gpu_narration._types import Kind
from tests.support import fake_cupy
from tests.support.recording import recorded, recorded_on_library

NAMES = ("RawKernel", "RawModule", "ElementwiseKernel", "ReductionKernel")


def _attributes(cupy: Any) -> dict[str, Any]:
    """Everything that a patch may touch, by owner and name, as it is stored."""
    owners = {
        "cupy": cupy, "cuda": cupy.cuda, "device": cupy.cuda.device,
        "runtime": cupy.cuda.runtime, "ndarray": cupy.ndarray,
        "_BaseStream": fake_cupy._BaseStream, "Stream": cupy.cuda.Stream,
        "Event": cupy.cuda.Event, "Device": fake_cupy.Device, "RawKernel": fake_cupy.RawKernel,
        "RawModule": fake_cupy.RawModule, "ElementwiseKernel": fake_cupy.ElementwiseKernel,
        "ReductionKernel": fake_cupy.ReductionKernel,
    }  # fmt: skip
    return {f"{o}.{n}": v for o, owner in owners.items() for n, v in vars(owner).items()}


# ---- isinstance, copies, pickles ----


@pytest.mark.parametrize("name", NAMES)
def test_isinstance_stays_true_before_between_and_after(cupy: Any, name: str) -> None:
    make = {
        "RawKernel": lambda: cupy.RawKernel("1", "k"),
        "RawModule": lambda: cupy.RawModule(code="1"),
        "ElementwiseKernel": lambda: cupy.ElementwiseKernel("T x", "T y", "y = x"),
        "ReductionKernel": lambda: cupy.ReductionKernel("T x"),
    }[name]
    before = make()
    base = getattr(cupy, name)
    cuda.patch_cupy()
    between, patched = make(), getattr(cupy, name)

    assert isinstance(before, patched)
    assert isinstance(between, patched)
    assert isinstance(between, base)
    assert issubclass(base, patched)
    assert not isinstance(object(), patched)
    cuda.unpatch_cupy()
    assert isinstance(between, getattr(cupy, name))
    assert isinstance(before, patched)


def test_a_recording_class_looks_like_the_one_it_stands_for(cupy: Any) -> None:
    base = cupy.RawKernel
    cuda.patch_cupy()

    names = ("__name__", "__qualname__", "__module__", "__doc__")
    assert [getattr(cupy.RawKernel, n) for n in names] == [getattr(base, n) for n in names]


def test_a_subclass_of_the_programs_own_records_and_is_no_other(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()

        class Mine(cupy.RawKernel):
            pass

        Mine("1", "mine")((1,), (1,), ())
        assert not isinstance(cupy.RawKernel("1", "k"), Mine)
        assert isinstance(Mine("1", "mine"), cupy.RawKernel)

    assert recorded_on_library(tmp_path, program).launched() == ["mine"]


@pytest.mark.parametrize("copying", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_kernel_records(cupy: Any, tmp_path: Path, copying: Any) -> None:
    def program() -> None:
        cuda.patch_cupy()
        kernel = copying(cupy.RawKernel("1", "k"))
        assert type(kernel) is cupy.RawKernel
        kernel((1,), (1,), ())

    assert recorded_on_library(tmp_path, program).launched() == ["k"]


def test_a_pickle_needs_nothing_of_ours_and_comes_back_as_cupys_own(cupy: Any) -> None:
    cuda.patch_cupy()
    data = pickle.dumps(cupy.RawKernel("1", "k", ("-O3",)))

    again = pickle.loads(data)

    assert b"gpu_narration" not in data
    assert type(again) is fake_cupy.RawKernel
    assert (again.code, again.name, again.options) == ("1", "k", ("-O3",))


def test_attributes_of_kernels_are_read_and_set_as_before(cupy: Any) -> None:
    cuda.patch_cupy()
    kernel = cupy.RawKernel("1", "k")
    kernel.max_dynamic_shared_size_bytes = 99

    assert (kernel.max_dynamic_shared_size_bytes, kernel.attributes) == (99, {"num_regs": 16})


# ---- undoing ----


def test_unpatch_leaves_every_name_as_it_was(cupy: Any) -> None:
    before = _attributes(cupy)
    cuda.patch_cupy()
    between = _attributes(cupy)
    cuda.unpatch_cupy()
    after = _attributes(cupy)

    changed = {name for name in between if between[name] is not before.get(name)}
    assert changed >= {f"cupy.{name}" for name in NAMES}
    assert before.keys() == after.keys()
    assert [name for name in before if before[name] is not after[name]] == []


def test_unpatch_after_patching_twice_leaves_every_name_as_it_was(cupy: Any) -> None:
    before = _attributes(cupy)
    cuda.patch_cupy()
    cuda.patch_cupy(every=3)
    cuda.unpatch_cupy()
    cuda.unpatch_cupy()
    after = _attributes(cupy)

    assert [name for name in before if before[name] is not after.get(name)] == []


def test_kernels_made_meanwhile_work_on_and_record_nothing(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        raw, module = cupy.RawKernel("1", "k"), cupy.RawModule(code="1")
        function = module.get_function("f")
        twice = cupy.ElementwiseKernel("T x", "T y", "y = x")
        total = cupy.ReductionKernel("T x")
        cuda.unpatch_cupy()
        raw((1,), (1,), ())
        function((1,), (1,), ())
        assert type(module.get_function("g")) is fake_cupy.RawKernel
        assert (twice(1), total(2)) == (1, 2)

    assert recorded_on_library(tmp_path, program).launched() == []


def test_a_kernel_of_an_earlier_patch_records_under_a_later_one(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        kernel = cupy.RawKernel("1", "k")
        cuda.unpatch_cupy()
        cuda.patch_cupy()
        kernel((1,), (1,), ())

    assert recorded_on_library(tmp_path, program).launched() == ["k"]


def test_what_somebody_else_put_in_our_place_stays(cupy: Any) -> None:
    cuda.patch_cupy()
    theirs = type("RawKernel", (cupy.RawKernel,), {})
    cupy.RawKernel = theirs
    cuda.unpatch_cupy()

    assert cupy.RawKernel is theirs
    assert cupy.RawModule is fake_cupy.RawModule


def test_as_a_context_manager_it_ends_with_the_block(cupy: Any) -> None:
    base = cupy.RawKernel
    with contextlib.suppress(KeyError), cuda.patch_cupy():
        inside = cupy.RawKernel
        raise KeyError

    assert inside is not base
    assert cupy.RawKernel is base


def test_a_block_inside_a_patch_leaves_the_patch_in_force(cupy: Any, tmp_path: Path) -> None:
    def program() -> None:
        cuda.patch_cupy()
        with cuda.patch_cupy(every=1):
            pass
        kernel = cupy.RawKernel("1", "k")
        kernel((1,), (1,), ())

    (line,) = recorded_on_library(tmp_path, program).lines(Kind.LAUNCH)

    assert 'gpu_reason="launches of this kernel are not timed"' in line


def test_without_cupy_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)

    with pytest.raises(
        BackendUnavailableError, match=r"finds no CuPy.*cuda12.*backend-unavailable"
    ):
        cuda.patch_cupy()


@pytest.mark.parametrize("every", [-1, 1.5, "2", None])
def test_a_sample_that_is_no_count_is_refused(cupy: Any, every: Any) -> None:
    with pytest.raises(OptionError, match="is no number of launches"):
        cuda.patch_cupy(every=every)
    assert cupy.RawKernel is fake_cupy.RawKernel


def test_while_nothing_records_kernels_only_run(cupy: Any, tmp_path: Path) -> None:
    """GIVEN a patched CuPy and no recording WHEN a kernel fails THEN its own error comes through."""
    cuda.patch_cupy(every=1)
    with pytest.raises(fake_cupy.CompileError):
        cupy.RawKernel("}{", "broken")((1,), (1,), ())

    assert recorded(tmp_path, lambda: None).lines() == []
