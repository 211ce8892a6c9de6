"""The import hook: modules of the chosen packages are compiled without their trace calls.

It finds nothing itself: it asks the finders behind it, and changes how a module is
compiled where it is found as Python source, in a directory or a ZIP file.  Whatever is
loaded in another way (extension modules, sourceless ones, tests that pytest rewrites) is
left as it is.

Stripped code has cache files of its own beside the usual ones.  They carry a hash of the
source, as PEP 552 describes, and their names one of this stripper's own code.
"""

from __future__ import annotations

import functools
import importlib.util
import marshal
import os
import pkgutil
import sys
import zipimport
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import InspectLoader, MetaPathFinder
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from gpu_narration._errors import internal_error, say
from gpu_narration.stripping import children
from gpu_narration.stripping.analysis import MENTION
from gpu_narration.stripping.choice import Choice

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

#: What decides how a stripped module looks, besides its source and Python.
_DECIDING = ("analysis.py", "scopes.py", "transform.py")
#: PEP 552: the file holds a hash of the source, which is to be checked.
_CHECKED_HASH = (0b11).to_bytes(4, "little")
_HEAD_BYTES = 16


def install(chosen: Callable[[], Choice]) -> None:
    """Strips from now on what ``chosen`` covers at each import; once a process."""
    if not any(isinstance(finder, Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, Finder(chosen))
        children.patch_if_loaded(chosen)


def compile_or_contain(source: ReadableBuffer | str, path: str, optimize: int) -> CodeType | None:
    """Stripped code; None if there is none, and the module must be compiled as it is."""
    from gpu_narration.stripping.transform import compile_stripped

    text = source if isinstance(source, str) else bytes(source)
    try:
        return compile_stripped(text, path, optimize=optimize)
    except SyntaxError:
        return None  # Python will say it
    except Exception as error:  # noqa: BLE001 - the program must not see it
        internal_error("stripping of a module", error)
        return None


class Finder(MetaPathFinder):
    """Stands before the other finders and changes the loaders they give."""

    def __init__(self, chosen: Callable[[], Choice]) -> None:
        self._chosen = chosen
        self._left: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spawn = fullname == children.SPAWN
        if not spawn and not self._chosen().covers(fullname):
            return None
        spec = self._found(fullname, path, target)
        if spec is not None and spawn:
            children.patch_when_loaded(spec, self._chosen)
        elif spec is not None:
            self._strip(spec)
        return spec

    def _found(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None
    ) -> ModuleSpec | None:
        for finder in self._behind():
            find_spec = getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = find_spec and find_spec(fullname, path, target)
            if spec is not None:
                return spec
        return None

    def _behind(self) -> Iterator[Any]:
        finders = iter(tuple(sys.meta_path))
        for finder in finders:
            if finder is self:
                break
        yield from finders

    def _strip(self, spec: ModuleSpec) -> None:
        loader: Any = spec.loader
        if type(loader) is SourceFileLoader:
            if _mentions(loader.get_data, loader.path):
                spec.loader = FileLoader(loader.name, loader.path)
                spec.cached = cache_path(loader.path)
        elif type(loader) is zipimport.zipimporter:
            if _mentions(loader.get_data, _zipped_source(loader, spec.name)):
                spec.loader = ZipLoader(loader)
        elif isinstance(loader, SourceFileLoader) and _mentions(loader.get_data, loader.path):
            self._say_left(loader)

    def _say_left(self, loader: SourceFileLoader) -> None:
        kind = f"{type(loader).__module__}.{type(loader).__qualname__}"
        if kind not in self._left:
            self._left.add(kind)
            say(
                f"modules that {kind} compiles keep their trace calls, "
                f"the first is {loader.name} [strip-loader]"
            )


def _mentions(read: Callable[[str], bytes], path: str) -> bool:
    try:
        return MENTION in read(path)
    except OSError:
        return False  # importing it will fail in its own way


class FileLoader(SourceFileLoader):
    """A source file, compiled without its trace calls."""

    def get_code(self, fullname: str) -> CodeType | None:
        path = self.get_filename(fullname)
        source = self.get_data(path)
        cached = cache_path(path)
        head = importlib.util.MAGIC_NUMBER + _CHECKED_HASH + importlib.util.source_hash(source)
        code = self._cached_code(cached, head, path)
        if code is None:
            code = self.source_to_code(source, path)
            if cached is not None and not sys.dont_write_bytecode:
                self._write(cached, head + marshal.dumps(code), path)
        return code

    def source_to_code(  # type: ignore[override] # typeshed does not know that it may be a str
        self, data: ReadableBuffer | str, path: str, *, _optimization: int = -1
    ) -> CodeType:
        code = compile_or_contain(data, path, _optimization)
        if code is None:  # compiled as importlib would: Python says what is wrong with it
            code = compile(data, path, "exec", dont_inherit=True, optimize=_optimization)
        return code

    def _cached_code(self, cached: str | None, head: bytes, path: str) -> CodeType | None:
        if cached is None:
            return None
        try:
            data = self.get_data(cached)
        except OSError:
            return None
        if data[:_HEAD_BYTES] != head:
            return None
        try:
            code = marshal.loads(memoryview(data)[_HEAD_BYTES:])  # noqa: S302 - our own file
        except (EOFError, ValueError, TypeError):
            return None  # cut short
        moved = not isinstance(code, CodeType) or code.co_filename != path
        return None if moved else code

    def _write(self, cached: str, data: bytes, path: str) -> None:
        try:
            mode = os.stat(path).st_mode | 0o200  # noqa: PTH116 - as importlib does
        except OSError:
            mode = 0o644
        self.set_data(cached, data, _mode=mode & 0o666)  # one that cannot be written is no error


class ZipLoader(InspectLoader):
    """A module in a ZIP file, compiled without its trace calls; all else is the importer's."""

    def __init__(self, importer: zipimport.zipimporter) -> None:
        self._importer = importer

    def __getattr__(self, name: str) -> Any:
        if name == "_importer":  # a copy that is still empty
            raise AttributeError(name)
        return getattr(self._importer, name)

    def is_package(self, fullname: str) -> bool:
        return self._importer.is_package(fullname)

    def get_source(self, fullname: str) -> str | None:
        return self._importer.get_source(fullname)

    def get_code(self, fullname: str) -> CodeType | None:
        path = _zipped_source(self._importer, fullname)
        code = compile_or_contain(self._importer.get_data(path), path, -1)
        return code or self._importer.get_code(fullname)

    def get_filename(self, fullname: str) -> str:
        return self._importer.get_filename(fullname)


def _zipped_source(importer: zipimport.zipimporter, fullname: str) -> str:
    """Where the source of a module lies, or would; its bytes, since it says its encoding."""
    path = importer.get_filename(fullname)
    return path.removesuffix("c") if path.endswith(".pyc") else path


def cache_path(path: str) -> str | None:
    """Where the stripped code of a source file is kept; None where Python keeps none."""
    level = str(sys.flags.optimize or "")
    try:
        return importlib.util.cache_from_source(path, optimization=f"{level}{_tag()}")
    except (NotImplementedError, ValueError):
        return None


@functools.cache
def _tag() -> str:
    """Changes when this stripper would strip otherwise."""
    import hashlib

    from gpu_narration._version import __version__

    found = hashlib.sha256(__version__.encode())
    for name in _DECIDING:
        found.update(pkgutil.get_data("gpu_narration.stripping", name) or b"")
    return f"gnstrip{found.hexdigest()[:10]}"
