"""The catalogue of kernels and the sources beside it say the same."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from gpu_narration import kernels

ENTRY = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
NAMES = sorted(kernels.catalogue())
MEMORY_BOUND = sorted(name for name, spec in kernels.catalogue().items() if spec.lasts is None)

POINTER = object()  # never looked at


def entry(name):
    """The name and the parameters of the one kernel that a source defines."""
    [found] = ENTRY.findall(kernels.source(name))
    return found


def test_every_source_is_in_the_catalogue_and_every_entry_has_its_source():
    """GIVEN the installed package WHEN its .cu files are listed THEN they are the catalogue's."""
    present = {item.name for item in files("gpu_narration.kernels").iterdir()}

    catalogued = {spec.file for spec in kernels.catalogue().values()}

    assert catalogued == {name for name in present if name.endswith(".cu")}


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_has_a_row_for_every_kernel(name):
    """GIVEN the README WHEN a kernel is looked up THEN a row of its table begins with it."""
    readme = files("gpu_narration.kernels").joinpath("README.md").read_text(encoding="utf-8")

    assert f"\n| `{name}` |" in readme


@pytest.mark.parametrize("name", NAMES)
def test_a_source_defines_the_function_that_the_catalogue_names(name):
    """GIVEN a source WHEN its kernel is looked up THEN it has the catalogue's function name."""
    assert entry(name)[0] == kernels.catalogue()[name].function


@pytest.mark.parametrize("name", NAMES)
def test_a_source_takes_the_parameters_that_the_catalogue_lists(name):
    """GIVEN a source WHEN its parameters are read THEN types, names and order are the same."""
    written = [
        " ".join(parameter.replace("__restrict__", "").replace("*", " * ").split())
        for parameter in entry(name)[1].split(",")
    ]

    listed = [f"{p.type} {p.name}" for p in kernels.catalogue()[name].parameters]

    assert written == listed


@pytest.mark.parametrize("name", NAMES)
def test_a_source_includes_nothing(name):
    """GIVEN a source WHEN it is read THEN it asks for no header, which NVRTC may not have."""
    assert "#include" not in kernels.source(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_catalogue_counts_over_parameters_that_exist(name):
    """GIVEN an entry WHEN it names parameters to count over THEN the kernel has them."""
    spec = kernels.catalogue()[name]
    counted = {*spec.grid_over, *spec.elements, *([spec.lasts] if spec.lasts else [])}

    assert counted <= {parameter.name for parameter in spec.parameters}


@pytest.mark.parametrize("name", NAMES)
def test_a_purpose_is_one_line(name):
    """GIVEN an entry WHEN its purpose is read THEN it is a single line of text."""
    assert len(kernels.catalogue()[name].purpose.splitlines()) == 1


def test_an_unknown_name_is_a_key_error():
    """GIVEN no such kernel WHEN its source is asked for THEN a KeyError says so."""
    with pytest.raises(KeyError):
        kernels.source("sxapy")


def test_an_unknown_names_message_lists_the_known_ones():
    """GIVEN no such kernel WHEN its source is asked for THEN the message lists all there are."""
    with pytest.raises(KeyError, match=r"'sxapy'.*Known: copy, saxpy, softmax, spin"):
        kernels.source("sxapy")


def test_an_unknown_names_message_is_shown_as_text():
    """GIVEN the error of an unknown name WHEN it is shown THEN not in quotes, as KeyError does."""
    with pytest.raises(kernels.UnknownKernelError) as caught:
        kernels.source("sxapy")

    assert str(caught.value) == caught.value.args[0]


def test_a_changed_catalogue_is_the_callers_own():
    """GIVEN a catalogue that its caller emptied WHEN it is asked for again THEN it is whole."""
    kernels.catalogue().clear()

    assert sorted(kernels.catalogue()) == NAMES


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("saxpy", (1_000, 2.0, POINTER, POINTER), 12_000),
        ("copy", (1_000, POINTER, POINTER), 8_000),
        ("softmax", (10, 100, POINTER, POINTER), 8_000),
        ("spin", (1_000,), 0),
    ],
)
def test_the_bytes_of_a_launch_follow_from_its_arguments(name, args, expected):
    """GIVEN a launch of 1,000 elements WHEN its bytes are asked for THEN they are per element."""
    assert kernels.catalogue()[name].bytes_moved(args) == expected


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("saxpy", (1_024, 2.0, POINTER, POINTER), 1),
        ("saxpy", (1_025, 2.0, POINTER, POINTER), 2),
        ("saxpy", (0, 2.0, POINTER, POINTER), 1),
        ("copy", (1 << 50, POINTER, POINTER), 2**31 - 1),
        ("softmax", (7, 100_000, POINTER, POINTER), 7),
        ("spin", (1_000_000,), 1),
    ],
)
def test_the_grid_covers_the_work_within_cudas_limits(name, args, expected):
    """GIVEN a launch WHEN its grid is asked for THEN it is rounded up, and 1 to 2**31-1."""
    assert kernels.catalogue()[name].blocks(args) == expected


@pytest.mark.parametrize("name", MEMORY_BOUND)
def test_an_empty_launch_takes_the_floor_on_the_simulator(name):
    """GIVEN no elements WHEN the simulated time is asked for THEN it is the launch's floor."""
    spec = kernels.catalogue()[name]

    assert spec.simulated_ns([0] * len(spec.parameters)) == spec.simulator.assumed_launch_floor_ns


@pytest.mark.parametrize("name", MEMORY_BOUND)
def test_a_second_of_bytes_takes_a_second_on_the_simulator(name):
    """GIVEN as many bytes as pass in a second WHEN simulated THEN the floor and a second."""
    spec = kernels.catalogue()[name]
    elements = spec.simulator.assumed_bandwidth_bytes_per_s // spec.bytes_per_element
    args = [elements if p.name in spec.elements[:1] else 1 for p in spec.parameters]

    assert spec.simulated_ns(args) == spec.simulator.assumed_launch_floor_ns + 1_000_000_000


def test_a_spin_takes_its_argument_on_the_simulator():
    """GIVEN a spin of 12,345 ns WHEN simulated THEN it takes 12,345 ns."""
    assert kernels.catalogue()["spin"].simulated_ns((12_345,)) == 12_345


def test_a_spin_above_its_limit_takes_nothing_on_the_simulator():
    """GIVEN a spin of over a minute WHEN simulated THEN it returns at once, as the kernel does."""
    assert kernels.catalogue()["spin"].simulated_ns((60_000_000_001,)) == 0


def test_the_spins_limit_is_the_one_in_its_source():
    """GIVEN spin.cu WHEN its limit is read THEN the catalogue has the same number."""
    [limit] = re.findall(r"#define LONGEST_NS (\d+)ull", kernels.source("spin"))

    assert int(limit) == kernels.catalogue()["spin"].longest_ns


def test_a_wrong_number_of_arguments_is_told_with_the_right_ones():
    """GIVEN too few arguments WHEN the bytes are asked for THEN the error lists what is taken."""
    with pytest.raises(ValueError, match=r"saxpy takes 4 arguments \(n, a, x, y\), got 2"):
        kernels.catalogue()["saxpy"].bytes_moved((1_000, 2.0))


def test_a_negative_count_is_refused():
    """GIVEN a negative duration WHEN the simulated time is asked for THEN it is an error."""
    with pytest.raises(ValueError, match="spin: ns cannot be negative, got -1"):
        kernels.catalogue()["spin"].simulated_ns((-1,))
