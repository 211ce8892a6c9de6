"""What ``narrate_fn`` makes of a function: how a call is told, and who calls it."""

from __future__ import annotations

import functools
import inspect
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from gpu_narration import _core
from gpu_narration._errors import TemplateError, internal_error
from gpu_narration._types import Level
from gpu_narration.narration.levels import level_from
from gpu_narration.narration.templates import MASKED, UNKNOWN, Template
from gpu_narration.redaction import Rule, parameter_rule
from gpu_narration.tracing import actor_of

_AFTER_RETURN = ("result", "elapsed_ms")
_AFTER_ERROR = ("error", "error_kind", "elapsed_ms")

#: Gives an argument by its name from the arguments of a call.
Getter = Callable[[tuple[Any, ...], Mapping[str, Any]], Any]


class Telling:
    """The sentences of one function, checked, and where it stands."""

    def __init__(
        self,
        function: Any,
        *,
        human: str,
        action: str | None,
        actor: str | None,
        target: str,
        error_human: str | None,
        cute: str | None,
        story: str | None,
        level: Level | str | int,
        error_level: Level | str | int,
    ) -> None:
        self._level, self._error_level = level_from(level), level_from(error_level)
        self._module = getattr(function, "__module__", None) or ""
        self._actor = actor or actor_of(self._module)
        self._action = action or function.__name__
        self._location = _location(function)
        getters = _getters(function)

        def template(option: str, text: str | None, *more: str) -> Template | None:
            return None if text is None else Template(option, text, {*getters, *more})

        self._human = Template("human", human, {*getters, *_AFTER_RETURN})
        self._target = Template("target", target, {*getters, *_AFTER_RETURN, *_AFTER_ERROR})
        self._error_human = template("error_human", error_human, *_AFTER_ERROR)
        self._voices = {
            voice: said
            for voice, text in (("cute", cute), ("story", story))
            if (said := template(voice, text, *_AFTER_RETURN)) is not None
        }
        used = {*self._human.names, *self._target.names}
        for said in (self._error_human, *self._voices.values()):
            used |= said.names if said is not None else set()
        for name in used & {*_AFTER_RETURN, *_AFTER_ERROR} & getters.keys():
            raise TemplateError(
                f"{{{name}}} is a parameter of {function.__name__}, and narrate_fn's own word",
                next_step="rename the parameter",
            )
        self._getters = {name: getters[name] for name in used if name in getters}

    def ended(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], begin_ns: int, result: Any
    ) -> None:
        """Tells of a call that returned."""
        self._tell(args, kwargs, begin_ns, result=result, outcome=None)

    def closed(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], begin_ns: int) -> None:
        """Tells of a generator that nobody took to its end."""
        self._tell(args, kwargs, begin_ns, result=UNKNOWN, outcome="closed")

    def raised(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        begin_ns: int,
        error: BaseException,
    ) -> None:
        """Tells of a call that raised."""
        duration_ms = _ms_since(begin_ns)
        stopped = isinstance(error, (KeyboardInterrupt, SystemExit)) or _is_cancellation(error)
        level = Level.WARN if stopped else self._error_level
        if level <= Level.MUTE or not _core.recording():
            return
        try:
            values = self._values(args, kwargs, duration_ms)
            values |= {"error": error, "error_kind": type(error).__name__, "result": UNKNOWN}
            if self._error_human is not None:
                human = self._error_human.fill(values)
            else:
                told = Template("error_human", "{error}", {"error"}).fill(values)
                human = f"{self._action} {'was stopped' if stopped else 'failed'}: {told}"
            fields = {"duration_ms": duration_ms, "error_kind": type(error).__name__}
            if stopped:
                fields["outcome"] = "cancelled"
            self._emit(level, self._target.fill(values), human, fields)
        except Exception as failure:  # noqa: BLE001 - ours must not take the place of theirs
            internal_error("narration of a function", failure)

    def _tell(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        begin_ns: int,
        *,
        result: Any,
        outcome: str | None,
    ) -> None:
        duration_ms = _ms_since(begin_ns)
        if self._level <= Level.MUTE or not _core.recording():
            return
        try:
            values = self._values(args, kwargs, duration_ms)
            values |= {"result": result, "error": UNKNOWN, "error_kind": UNKNOWN}
            fields: dict[str, Any] = {
                voice: said.fill(values) for voice, said in self._voices.items()
            }
            fields |= {"duration_ms": duration_ms}
            if outcome is not None:
                fields["outcome"] = outcome
            self._emit(self._level, self._target.fill(values), self._human.fill(values), fields)
        except Exception as failure:  # noqa: BLE001 - a call that went well must not fail here
            internal_error("narration of a function", failure)

    def _values(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], duration_ms: float
    ) -> dict[str, Any]:
        values = {name: getter(args, kwargs) for name, getter in self._getters.items()}
        values["elapsed_ms"] = f"{duration_ms:.3f}" if duration_ms < 10 else f"{duration_ms:.0f}"
        return values

    def _emit(self, level: int, target: str, human: str, fields: dict[str, Any]) -> None:
        _core.narrate_from(
            self._module, self._location, level, self._actor, self._action, target, human, fields
        )


def _ms_since(begin_ns: int) -> float:
    return round((time.perf_counter_ns() - begin_ns) / 1e6, 3)


def _is_cancellation(error: BaseException) -> bool:
    # Who raised one has loaded the module; who uses no event loop need not.
    exceptions = sys.modules.get("asyncio.exceptions")
    return exceptions is not None and isinstance(error, exceptions.CancelledError)


def _location(function: Any) -> str:
    code = getattr(inspect.unwrap(function), "__code__", None)
    return "" if code is None else f"{code.co_filename}:{code.co_firstlineno}"


# ---- arguments by their names ----


def _getters(function: Any) -> dict[str, Getter]:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):
        return {}  # a C function without a signature
    getters: dict[str, Getter] = {}
    named = set(signature.parameters)
    for position, (name, parameter) in enumerate(signature.parameters.items()):
        rule = parameter_rule(name)
        if parameter.kind is parameter.VAR_POSITIONAL:
            getters[name] = _rest(position)
        elif parameter.kind is parameter.VAR_KEYWORD:
            getters[name] = _other(named)
        elif rule is Rule.MASKED:
            getters[name] = _masked
        else:
            by_position = parameter.kind is not parameter.KEYWORD_ONLY
            default = UNKNOWN if parameter.default is parameter.empty else parameter.default
            getter = _one(name, position if by_position else sys.maxsize, default)
            getters[name] = _checked(getter) if rule is Rule.CHECKED else getter
    return getters


def _one(name: str, position: int, default: Any) -> Getter:
    return lambda args, kwargs: (
        args[position] if position < len(args) else kwargs.get(name, default)
    )


def _rest(position: int) -> Getter:
    return lambda args, _: args[position:]


def _other(named: set[str]) -> Getter:
    return lambda _, kwargs: {name: value for name, value in kwargs.items() if name not in named}


def _masked(_: tuple[Any, ...], __: Mapping[str, Any]) -> Any:
    return MASKED


def _checked(getter: Getter) -> Getter:
    def get(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        value = getter(args, kwargs)
        hidden = isinstance(value, str) and _core.looks_like_credential(value)
        return MASKED if hidden else value

    return get


# ---- the wrappers ----


def wrap(function: Any, telling: Telling) -> Any:
    """The function, told of by ``telling``."""
    if inspect.isasyncgenfunction(function):
        wrapper: Any = _async_generator(function, telling)
    elif inspect.iscoroutinefunction(function):
        wrapper = _coroutine(function, telling)
    elif inspect.isgeneratorfunction(function):
        wrapper = _generator(function, telling)
    else:
        wrapper = _plain(function, telling)
    return functools.update_wrapper(wrapper, function)


def _plain(function: Any, telling: Telling) -> Any:
    recording, now = _core.recording, time.perf_counter_ns

    def narrated(*args: Any, **kwargs: Any) -> Any:
        if not recording():
            return function(*args, **kwargs)
        begin_ns = now()
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            telling.raised(args, kwargs, begin_ns, error)
            raise
        telling.ended(args, kwargs, begin_ns, result)
        return result

    return narrated


def _coroutine(function: Any, telling: Telling) -> Any:
    async def narrated(*args: Any, **kwargs: Any) -> Any:
        begin_ns = time.perf_counter_ns()
        try:
            result = await function(*args, **kwargs)
        except GeneratorExit:
            telling.closed(args, kwargs, begin_ns)
            raise
        except BaseException as error:
            telling.raised(args, kwargs, begin_ns, error)
            raise
        telling.ended(args, kwargs, begin_ns, result)
        return result

    return narrated


def _generator(function: Any, telling: Telling) -> Any:
    def narrated(*args: Any, **kwargs: Any) -> Any:
        begin_ns = time.perf_counter_ns()
        try:
            result = yield from function(*args, **kwargs)
        except GeneratorExit:
            telling.closed(args, kwargs, begin_ns)
            raise
        except BaseException as error:
            telling.raised(args, kwargs, begin_ns, error)
            raise
        telling.ended(args, kwargs, begin_ns, result)
        return result

    return narrated


def _async_generator(function: Any, telling: Telling) -> Any:
    async def narrated(*args: Any, **kwargs: Any) -> Any:
        begin_ns = time.perf_counter_ns()
        inner = function(*args, **kwargs)
        try:
            step, sent = inner.asend, None
            while True:
                item = await step(sent)
                try:
                    step, sent = inner.asend, (yield item)
                except GeneratorExit:
                    await inner.aclose()
                    raise
                except BaseException as error:  # noqa: BLE001 - athrow() of the one who iterates
                    step, sent = inner.athrow, error
        except StopAsyncIteration:
            telling.ended(args, kwargs, begin_ns, None)
        except GeneratorExit:
            telling.closed(args, kwargs, begin_ns)
            raise
        except BaseException as error:
            telling.raised(args, kwargs, begin_ns, error)
            raise

    return narrated
