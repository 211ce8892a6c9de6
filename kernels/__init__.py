"""CUDA C++ kernels of known work, and the catalogue that says what each should cost.

The sources compile with nvcc and with NVRTC alike; this module only hands out text
and numbers and never touches a GPU::

    spec = catalogue()["saxpy"]
    saxpy = cupy.RawKernel(source("saxpy"), spec.function)
    args = (n, numpy.float32(2.0), x, y)
    saxpy((spec.blocks(args),), (spec.threads_per_block,), args)
"""

from __future__ import annotations

import math
import operator
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from gpu_narration._errors import GpuNarrationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["KernelSpec", "Parameter", "Simulator", "UnknownKernelError", "catalogue", "source"]

#: CUDA's limit on a grid's first dimension; the kernels loop over what is left.
MAX_BLOCKS = 2**31 - 1

NS_PER_S = 1_000_000_000


class UnknownKernelError(GpuNarrationError, KeyError):
    """No kernel has that name."""

    slug = "unknown-kernel"

    def __str__(self) -> str:
        # KeyError would show the message in quotes, as if it were the key.
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a kernel, with its type as written in C."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Simulator:
    """What the simulated GPU is assumed to be; measured on no GPU."""

    assumed_launch_floor_ns: int
    assumed_bandwidth_bytes_per_s: int


@dataclass(frozen=True, slots=True)
class KernelSpec:
    """What kernels.toml says of a kernel; the fields are explained there.

    The methods take the arguments of a launch, in order; of these they look only
    at the counts, so a pointer may be anything.  They raise ValueError where the
    number of arguments is wrong or a count is negative.
    """

    name: str
    file: str
    function: str
    purpose: str
    parameters: tuple[Parameter, ...]
    launch: str
    threads_per_block: int
    grid_over: tuple[str, ...]
    grid_step: int
    elements: tuple[str, ...]
    bytes_per_element: int
    simulator: Simulator
    lasts: str | None = None
    longest_ns: int = 0

    def blocks(self, args: Sequence[Any]) -> int:
        """The grid's one dimension; never 0, which CUDA refuses."""
        needed = _divide_up(self._product(self.grid_over, args), self.grid_step)
        return min(max(needed, 1), MAX_BLOCKS)

    def bytes_moved(self, args: Sequence[Any]) -> int:
        """The bytes that have to cross device memory in one launch."""
        return self.bytes_per_element * self._product(self.elements, args)

    def simulated_ns(self, args: Sequence[Any]) -> int:
        """How long the launch takes on the simulated GPU."""
        if self.lasts is not None:
            asked = self._product((self.lasts,), args)
            return asked if asked <= self.longest_ns else 0
        moving = _divide_up(
            self.bytes_moved(args) * NS_PER_S, self.simulator.assumed_bandwidth_bytes_per_s
        )
        return self.simulator.assumed_launch_floor_ns + moving

    def _product(self, names: Sequence[str], args: Sequence[Any]) -> int:
        if len(args) != len(self.parameters):
            expected = ", ".join(parameter.name for parameter in self.parameters)
            raise ValueError(
                f"{self.name} takes {len(self.parameters)} arguments ({expected}), got {len(args)}"
            )
        counts = {
            parameter.name: operator.index(value)
            for parameter, value in zip(self.parameters, args, strict=True)
            if parameter.name in names
        }
        for name, count in counts.items():
            if count < 0:
                raise ValueError(f"{self.name}: {name} cannot be negative, got {count}")
        return math.prod(counts[name] for name in names)


def catalogue() -> dict[str, KernelSpec]:
    """All kernels by name; the caller's own dictionary."""
    return dict(_read())


def source(name: str) -> str:
    """A kernel's CUDA C++ text.  Raises UnknownKernelError."""
    spec = _read().get(name)
    if spec is None:
        raise UnknownKernelError(
            f"there is no kernel named {name!r}", next_step=f"Known: {', '.join(sorted(_read()))}"
        )
    return _text(spec.file)


@cache
def _read() -> dict[str, KernelSpec]:
    document = tomllib.loads(_text("kernels.toml"))
    simulator = Simulator(**document["simulator"])
    return {name: _spec(name, entry, simulator) for name, entry in document["kernel"].items()}


def _spec(name: str, entry: dict[str, Any], simulator: Simulator) -> KernelSpec:
    frozen: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()
    }
    frozen["parameters"] = tuple(Parameter(**parameter) for parameter in entry["parameters"])
    return KernelSpec(name=name, simulator=simulator, **frozen)


def _text(file: str) -> str:
    return (files(__package__) / file).read_text(encoding="utf-8")


def _divide_up(count: int, step: int) -> int:
    return -(-count // step)
