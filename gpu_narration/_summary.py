"""How values that are no plain scalars are shown: their type and a few facts.

A rule is chosen once per type.  Rules touch only attributes of types known by
name; they never read contents, never wait for a device, and never call a
``__repr__`` or ``__str__`` of the program's own.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from gpu_narration._core import Address

#: What a rule is: fixed text, a function of the value, or None for the type's name.
Rule = str | Callable[[Any], object] | None

_BY_NAME: dict[tuple[str, str], Callable[[Any], object]] = {}


def summary_rule(value_type: type) -> Rule:
    """The rule for values of a type."""
    for base in value_type.__mro__:
        rule = _BY_NAME.get((base.__module__.partition(".")[0], base.__name__))
        if rule is not None:
            return rule
    for plain, convert in _PLAIN_SUBTYPES:
        if issubclass(value_type, plain):
            return convert
    return _ctypes_rule(value_type)


_PLAIN_SUBTYPES: tuple[tuple[type, Callable[[Any], object]], ...] = (
    (int, int.__int__),
    (float, float.__float__),
    (str, str.__str__),
    (bytes, bytes.__bytes__),
    (bytearray, lambda value: f"{type(value).__name__}[{bytearray.__len__(value)}]"),
    (memoryview, lambda value: f"memoryview[{value.nbytes}]"),
    (range, lambda value: f"range({value.start}, {value.stop}, {value.step})"),
    (list, lambda value: f"{type(value).__name__}[{list.__len__(value)}]"),
    (tuple, lambda value: f"{type(value).__name__}[{tuple.__len__(value)}]"),
    (dict, lambda value: f"{type(value).__name__}[{dict.__len__(value)}]"),
)


def _known(module: str, name: str) -> Callable[[Callable[[Any], object]], Callable[[Any], object]]:
    def register(rule: Callable[[Any], object]) -> Callable[[Any], object]:
        _BY_NAME[module, name] = rule
        return rule

    return register


@_known("numpy", "ndarray")
@_known("cupy", "ndarray")
@_known("numba", "DeviceNDArray")
def _array(value: Any) -> str:
    shape = ",".join(str(size) for size in value.shape)
    device = getattr(getattr(value, "device", None), "id", None)
    where = "" if device is None else f" gpu{device}"
    return f"{value.dtype}[{shape}]{where}"


@_known("torch", "Tensor")
def _tensor(value: Any) -> str:
    shape = ",".join(str(int(size)) for size in value.shape)
    dtype = str(value.dtype).removeprefix("torch.")
    index = value.device.index
    return f"{dtype}[{shape}] {value.device.type}{'' if index is None else index}"


@_known("numpy", "generic")
def _numpy_scalar(value: Any) -> object:
    plain = value.item()
    if isinstance(plain, (int, float, bool, str, bytes)):
        return plain
    return f"<{type(value).__name__}>"


@_known("enum", "Enum")
def _enum(value: Any) -> str:
    return f"{type(value).__name__}.{value._name_}"


@_known("pathlib", "PurePath")
@_known("uuid", "UUID")
@_known("decimal", "Decimal")
@_known("_decimal", "Decimal")
@_known("fractions", "Fraction")
def _printed(value: Any) -> str:
    # The library's own __str__, even where a subclass has another.
    for base in type(value).__mro__:
        if base.__module__.partition(".")[0] in (
            "pathlib",
            "uuid",
            "decimal",
            "_decimal",
            "fractions",
        ):
            show: Any = base.__str__
            return str(show(value))
    return f"<{type(value).__name__}>"


@_known("builtins", "CArgObject")
@_known("_ctypes", "CArgObject")
def _by_reference(value: Any) -> object:
    # ctypes.byref(): only its repr, which is C's own, tells the address.
    head, _, tail = repr(value).rpartition("(0x")
    digits = tail.rstrip(")>")
    return Address(int(digits, 16)) if head.endswith("'P' ") else f"<{type(value).__name__}>"


@_known("_cffi_backend", "_CDataBase")
def _cffi_data(value: Any) -> object:
    backend: Any = sys.modules["_cffi_backend"]
    kind = backend.typeof(value)
    if kind.kind in ("pointer", "function"):
        word = backend.new_primitive_type("uintptr_t")
        return Address(int(backend.cast(word, value)))
    if kind.kind == "array":
        return f"{kind.item.cname}[{len(value)}]"
    if kind.kind == "primitive":
        real = kind.cname in ("float", "double")
        return float(value) if real else int(value)
    if kind.kind == "enum":
        return int(value)
    return f"<{kind.cname}, {backend.sizeof(value)} bytes>"


@_known("datetime", "datetime")
@_known("datetime", "date")
@_known("datetime", "time")
def _moment(value: Any) -> str:
    base: Any = next(base for base in type(value).__mro__ if base.__module__ == "datetime")
    return str(base.isoformat(value))


def _ctypes_rule(value_type: type) -> Rule:
    ctypes = sys.modules.get("ctypes")
    if ctypes is None:
        return None
    rule: Rule = Address
    if issubclass(value_type, (ctypes.Structure, ctypes.Union)):
        return f"<{value_type.__name__}, {ctypes.sizeof(value_type)} bytes>"
    if issubclass(value_type, ctypes.Array):
        array: Any = value_type
        return f"{array._type_.__name__}[{array._length_}]"
    # Of a pointer the address, which is what its own memory holds; what it points at may dangle.
    if issubclass(
        value_type,
        (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_wchar_p, ctypes._Pointer, ctypes._CFuncPtr),
    ):
        return rule
    if issubclass(value_type, ctypes._SimpleCData):
        read = ctypes._SimpleCData.value.__get__  # the C getter, not a subclass's
        return lambda value: _scalar(read(value), value_type)
    return None


def _scalar(value: object, value_type: type) -> object:
    if value is None:
        return "NULL"
    if isinstance(value, (int, float, bytes, str)):
        return value
    return f"<{value_type.__name__}>"
