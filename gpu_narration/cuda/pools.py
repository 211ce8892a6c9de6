"""Caching pools: what they hold from the driver, and how much of it the program has.

A pool keeps memory that the program has given back, so that the driver's numbers alone
would call it a leak.  Read are, for one device,

- *live* bytes: handed out to the program,
- *reserved* bytes: held from the driver; what is not live of them is *cached*.

Nothing of a pool is changed: no counter is reset, no allocator replaced, and a library
that the program has not loaded is not loaded.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from gpu_narration._errors import internal_error

if TYPE_CHECKING:
    from gpu_narration.cuda.mock_gpu import MockGpu


class PoolUnreadable(Exception):  # noqa: N818 - an answer, not a failure
    """A pool is there but cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class PoolState:
    """Bytes of one pool on one device.

    ``peak_reserved_bytes``: the highest ``reserved_bytes`` since a moment that only the
    program knows; None where nobody counts it.
    """

    live_bytes: int
    reserved_bytes: int
    peak_reserved_bytes: int | None = None

    @property
    def cached_bytes(self) -> int:
        return self.reserved_bytes - self.live_bytes


@dataclass(slots=True, eq=False)
class Mark:
    """The beginning of a stretch of time over which a pool is compared.

    ``followed_bytes``: the highest ``reserved_bytes`` since then, if it is followed;
    ``lost``: following it has failed.
    """

    device: int
    before: PoolState
    followed_bytes: int | None = None
    lost: bool = False

    def peak_bytes(self, after: PoolState) -> int | None:
        """The highest ``reserved_bytes`` from the mark until now; None if it is not known.

        A counter that is never reset tells it where it was exceeded, or reached by what
        is reserved at one of the two ends.
        """
        highest = max(self.before.reserved_bytes, after.reserved_bytes)
        if self.followed_bytes is not None and not self.lost:
            return max(highest, self.followed_bytes)
        first, last = self.before.peak_reserved_bytes, after.peak_reserved_bytes
        if first is None or last is None or last < first:
            return None  # nobody counts, or the program has reset the counter meanwhile
        return last if last > first or highest >= last else None


class Pool(Protocol):
    """One library's pools; any method may raise :class:`PoolUnreadable`."""

    name: str

    def read(self, device: int) -> PoolState: ...

    def begin(self, device: int) -> Mark: ...

    def end(self, mark: Mark) -> PoolState:
        """What is there now; nothing is followed for the mark any more."""


class _Counted:
    """A pool that keeps its own peak."""

    def read(self, device: int) -> PoolState:
        raise NotImplementedError

    def begin(self, device: int) -> Mark:
        return Mark(device, self.read(device))

    def end(self, mark: Mark) -> PoolState:
        return self.read(mark.device)


class MockPool(_Counted):
    """The caching pools of the simulated GPU."""

    name = "mock"

    def __init__(self, gpu: MockGpu) -> None:
        self._gpu = gpu

    def read(self, device: int) -> PoolState:
        if device not in self._gpu.pooled_devices:
            return PoolState(0, 0, 0)
        pool = self._gpu.pool(device)
        return PoolState(pool.live_bytes, pool.reserved_bytes, pool.peak_reserved_bytes)


class TorchPool(_Counted):
    """PyTorch's allocator: ``torch.cuda.memory_stats``, one call a reading.

    Its peak counters are read and never reset: the program may use them itself.
    """

    name = "torch"

    def __init__(self, torch: Any) -> None:
        self._cuda = torch.cuda

    def read(self, device: int) -> PoolState:
        if not self._cuda.is_initialized():
            return PoolState(0, 0, 0)
        try:
            stats = self._cuda.memory_stats(device)
            return PoolState(
                int(stats["allocated_bytes.all.current"]),
                int(stats["reserved_bytes.all.current"]),
                int(stats["reserved_bytes.all.peak"]),
            )
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            raise PoolUnreadable(f"PyTorch's allocator cannot be read: {error!r}") from error


class CupyPool:
    """The memory pool that CuPy allocates from now.

    Its peak is followed by a ``MemoryHook`` of the thread, as long as a mark is open
    there: reserved memory grows only in ``malloc``, so the pool is read after each.
    Growth by other threads is seen at this thread's next ``malloc``, or at the end.
    """

    name = "cupy"

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._hooks = threading.local()

    def read(self, device: int) -> PoolState:
        try:
            current = self._cupy.cuda.runtime.getDevice()
            if current == device:
                pool = self._pool()
                return PoolState(int(pool.used_bytes()), int(pool.total_bytes()))
        except (AttributeError, RuntimeError) as error:
            raise PoolUnreadable(f"CuPy's pool cannot be read: {error!r}") from error
        # Making it current would give the program a context there, if it has none.
        raise PoolUnreadable(f"CuPy tells of the current device's pool, which is gpu{current}'s")

    def begin(self, device: int) -> Mark:
        mark = Mark(device, self.read(device))
        mark.followed_bytes = mark.before.reserved_bytes
        hook = getattr(self._hooks, "hook", None)
        if hook is None:
            hook = self._hooks.hook = _hook_class(self._cupy)(self)
        hook.add(mark)
        return mark

    def end(self, mark: Mark) -> PoolState:
        hook = getattr(self._hooks, "hook", None)
        if hook is None or not hook.remove(mark):
            mark.lost = True  # it ends in another thread than it began in
        return self.read(mark.device)

    def _pool(self) -> Any:
        """The object behind the allocator that is set."""
        allocator = self._cupy.cuda.get_allocator()
        pool = getattr(allocator, "__self__", None)
        if not hasattr(pool, "total_bytes") or not hasattr(pool, "used_bytes"):
            raise PoolUnreadable("CuPy's allocator is not one of its memory pools")
        return pool


def _hook_class(cupy: Any) -> Any:
    """A ``cupy.cuda.MemoryHook``, which can be derived from only once CuPy is loaded."""

    class Follower(cupy.cuda.MemoryHook):  # type: ignore[misc]
        """Registered in its thread while a mark is open.  CuPy wants a name of each."""

        def __init__(self, pool: CupyPool) -> None:
            self.name = f"gpu_narration-{id(self):x}"
            self._pool = pool
            self._marks: list[Mark] = []

        def add(self, mark: Mark) -> None:
            if not self._marks:
                self.__enter__()
            self._marks.append(mark)

        def remove(self, mark: Mark) -> bool:
            """Whether the mark was one of this thread's."""
            if mark not in self._marks:
                return False
            self._marks.remove(mark)
            if not self._marks:
                self.__exit__(None, None, None)
            return True

        def malloc_postprocess(self, **kwargs: Any) -> None:
            try:
                self._follow(kwargs.get("device_id"))
            except Exception as error:  # noqa: BLE001 - it would be raised in the program's malloc
                for mark in self._marks:
                    mark.lost = True
                internal_error("following of CuPy's pool", error)

        def _follow(self, device: object) -> None:
            marks = [mark for mark in self._marks if mark.device == device and not mark.lost]
            if marks:
                reserved = int(self._pool._pool().total_bytes())
                for mark in marks:
                    mark.followed_bytes = max(mark.followed_bytes or 0, reserved)

    return Follower


# ---- all of a program's pools ----


class Pools:
    """The pools that a program has now; it may load a library at any time."""

    def __init__(self, mock: MockGpu | None = None) -> None:
        self._known: dict[str, Pool] = {}
        self._mock = mock

    def begin(self, device: int) -> PoolMarks:
        """Reads all pools of a device at the beginning of a stretch of time."""
        marks = []
        reason = ""
        for pool in self._present():
            try:
                marks.append((pool, pool.begin(device)))
            except PoolUnreadable as error:
                reason = str(error)
        return PoolMarks(device, tuple(marks), reason)

    def end(self, marks: PoolMarks) -> PoolChange | None:
        """What became of them; None where there was no pool then or now.

        A pool that was not there at the beginning began with nothing.
        """
        reason = marks.reason
        known = {pool.name for pool, _ in marks.marks}
        late = [pool for pool in self._present() if pool.name not in known]
        nothing = PoolState(0, 0, 0)
        compared = [*marks.marks, *((pool, Mark(marks.device, nothing)) for pool in late)]
        before, after, peaks = [], [], []
        for pool, mark in compared:
            try:
                state = pool.end(mark)
            except PoolUnreadable as error:
                reason = str(error)
                continue
            before.append(mark.before)
            after.append(state)
            peaks.append(mark.peak_bytes(state))
        names = "+".join(sorted(pool.name for pool, _ in compared))
        if reason:
            return PoolChange(names, None, None, None, reason)
        if not compared:
            return None
        first, last = _sum(before), _sum(after)
        # The peaks of two pools need not have been at the same time.
        peak = peaks[0] if len(peaks) == 1 else None
        return PoolChange(
            names,
            last.live_bytes - first.live_bytes,
            last.cached_bytes - first.cached_bytes,
            None if peak is None else peak - first.reserved_bytes,
        )

    def now(self, device: int) -> tuple[str, PoolState | None]:
        """Names of all pools of a device and their sum; None if one cannot be read."""
        states, names = [], []
        for pool in self._present():
            names.append(pool.name)
            try:
                states.append(pool.read(device))
            except PoolUnreadable:
                return "+".join(names), None
        return "+".join(names), _sum(states) if states else None

    def _present(self) -> Sequence[Pool]:
        if self._mock is not None:
            if self._mock.pooled_devices:
                self._known.setdefault("mock", MockPool(self._mock))
        else:
            for name, make in _LIBRARIES:
                # Looked up, not imported: another thread may be in the middle of that.
                library = sys.modules.get(name)
                if name not in self._known and hasattr(library, "cuda"):
                    self._known[name] = make(library)
        return list(self._known.values())


_LIBRARIES: tuple[tuple[str, Callable[[Any], Pool]], ...] = (
    ("cupy", CupyPool),
    ("torch", TorchPool),
)


@dataclass(frozen=True, slots=True)
class PoolMarks:
    """What :meth:`Pools.begin` found."""

    device: int
    marks: tuple[tuple[Pool, Mark], ...] = ()
    reason: str = ""

    def abandon(self) -> None:
        """Nobody will ask for the end: following it must not cost the program any more."""
        for _, mark in self.marks:
            mark.lost = True

    @property
    def cached_bytes(self) -> int:
        """What the pools kept unused at the beginning."""
        return sum(mark.before.cached_bytes for _, mark in self.marks)


@dataclass(frozen=True, slots=True)
class PoolChange:
    """Over a stretch of time; bytes, None with a reason.

    ``peak_rise_bytes``: how far what was reserved rose above what it was at the
    beginning; None where that is not known exactly.
    """

    names: str
    live_delta_bytes: int | None
    cached_delta_bytes: int | None
    peak_rise_bytes: int | None
    reason: str = ""


def _sum(states: Iterable[PoolState]) -> PoolState:
    listed = list(states)
    return PoolState(
        sum(state.live_bytes for state in listed), sum(state.reserved_bytes for state in listed)
    )
