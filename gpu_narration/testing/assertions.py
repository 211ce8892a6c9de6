"""What a test can ask of captured events; failures show what was captured."""

from __future__ import annotations

import difflib
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from typing import Any

from gpu_narration._types import Kind, Level
from gpu_narration.testing.dialogue import has_dialogue
from gpu_narration.testing.matching import MISSING, check_wanted, fits, value_of
from gpu_narration.tracefile import Event, Phase
from gpu_narration.tracefile.format import Value
from gpu_narration.views import text

#: Lines of what was captured in the message of a failure; more are counted.
_LINES_SHOWN = 40


class Assertions:
    """Questions about :attr:`events`; ``fields`` are as in :meth:`select`."""

    @property
    @abstractmethod
    def events(self) -> list[Event]: ...

    @abstractmethod
    def annotations(self, event: Event) -> dict[str, Value]: ...

    # ---- looking ----

    def named(self, action: str) -> list[Event]:
        """The events with this action, function or target."""
        return [event for event in self.events if action in event.names[1:3]]

    def narrations(self, level: Level | str | None = None) -> list[Event]:
        """The narrations, of one level if it is given."""
        check_wanted({"level": level})
        found = [event for event in self.events if event.kind is Kind.NARRATION]
        return found if level is None else [e for e in found if fits(e.level, level)]

    def lines(self, voice: str = "human") -> list[str]:
        """The events as text, one line each."""
        return [text.line(event, self.annotations(event), voice) for event in self.events]

    def value(self, event: Event, name: str, default: Any = None) -> Any:
        """A field of an event: actor, level, human, …, its fields, arguments, context's ids."""
        value = value_of(event, self.annotations(event), name)
        return default if value is MISSING else value

    def select(self, text: str | re.Pattern[str] | None = None, /, **fields: Any) -> list[Event]:
        """The events whose line contains ``text`` and whose fields fit.

        A field is compared with ``==``; a compiled pattern is searched for in it, a function
        is asked about it.  ``level`` may be a name.  Raises OptionError for a level, kind or
        phase that there is not.
        """
        return self._select(self.events, text, fields)

    # ---- asserting ----

    def assert_includes(
        self,
        text: str | re.Pattern[str] | None = None,
        /,
        *,
        count: int | None = None,
        **fields: Any,
    ) -> list[Event]:
        """That there are such events, exactly ``count`` of them if it is given; those events."""
        __tracebackhide__ = True
        events = self.events
        found = self._select(events, text, fields)
        if (count is None and found) or len(found) == count:
            return found
        wanted = self._wanted(text, fields)
        how_many = "no event" if count is None else f"{len(found)} events, not {count},"
        self._fail(f"{how_many} with {wanted}", events, text, fields)
        return []

    def assert_excludes(self, text: str | re.Pattern[str] | None = None, /, **fields: Any) -> None:
        """That there is no such event."""
        __tracebackhide__ = True
        events = self.events
        found = self._select(events, text, fields)
        if found:
            shown = "\n".join(f"  {self._line(event)}" for event in found[:_LINES_SHOWN])
            raise AssertionError(f"{len(found)} events with {self._wanted(text, fields)}:\n{shown}")

    def assert_field(self, name: str, expected: Any, /, **fields: Any) -> None:
        """That all events with these fields, and there are some, have ``name`` as expected."""
        __tracebackhide__ = True
        events = self.events
        found = self._select(events, None, fields)
        if not found:
            self._fail(f"no event with {self._wanted(None, fields)}", events, None, fields)
        wrong = []
        for event in found:
            value = value_of(event, self.annotations(event), name)
            if not fits(value, expected):
                shown = "it has none" if value is MISSING else f"it is {value!r}"
                wrong.append(f"  {self._line(event)}\n    {shown}")
        if wrong:
            raise AssertionError(
                f"{name} is not {_shown(expected)} in {len(wrong)} of {len(found)} events:\n"
                + "\n".join(wrong[:_LINES_SHOWN])
            )

    def assert_balanced(self) -> None:
        """That what was begun has ended: each span, and each trace_enter by its trace_exit."""
        __tracebackhide__ = True
        events = self.events
        ended = {event.span_id for event in events if event.phase is Phase.END}
        open_ = [e for e in events if e.phase is Phase.BEGIN and e.id not in ended]
        calls: dict[tuple[int, str | None, str | None], list[Event]] = {}
        stray = []
        for event in events:
            key = event.thread, event.names[0], event.names[2]
            if event.kind is Kind.ENTER:
                calls.setdefault(key, []).append(event)
            elif event.kind is Kind.EXIT:
                if calls.get(key):
                    calls[key].pop()
                else:
                    stray.append(event)
        open_ += [event for waiting in calls.values() for event in waiting]
        if open_ or stray:
            shown = [f"  has no end: {self._line(event)}" for event in open_]
            shown += [f"  has no beginning: {self._line(event)}" for event in stray]
            raise AssertionError("what was begun and ended is not balanced:\n" + "\n".join(shown))

    def assert_story_has_dialogue(self, **fields: Any) -> None:
        """That somebody speaks in each story, and that there is one."""
        __tracebackhide__ = True
        events = self.events
        stories = [
            (event, story)
            for event in self._select(events, None, fields)
            if isinstance(story := value_of(event, self.annotations(event), "story"), str)
        ]
        if not stories:
            self._fail("no event with a story", events, None, fields)
        silent = [f"  {story!r}\n    of {self._line(e)}" for e, story in stories if not has_dialogue(story)]  # fmt: skip
        if silent:
            raise AssertionError(
                f"nobody speaks in {len(silent)} of {len(stories)} stories; speech stands in quotes, "
                'as in "Ready," said worker-1:\n' + "\n".join(silent)
            )

    # ---- how a failure is shown ----

    def _select(
        self, events: list[Event], wanted: str | re.Pattern[str] | None, fields: Mapping[str, Any]
    ) -> list[Event]:
        check_wanted(fields)
        found = []
        for event in events:
            learned = self.annotations(event)
            if wanted is not None:
                line = text.line(event, learned)
                inside = wanted in line if isinstance(wanted, str) else wanted.search(line)
                if not inside:
                    continue
            if all(fits(value_of(event, learned, name), e) for name, e in fields.items()):
                found.append(event)
        return found

    def _line(self, event: Event) -> str:
        return text.line(event, self.annotations(event))

    def _wanted(self, wanted: str | re.Pattern[str] | None, fields: Mapping[str, Any]) -> str:
        parts = [] if wanted is None else [_shown(wanted)]
        parts += [f"{name}={_shown(value)}" for name, value in fields.items()]
        return ", ".join(parts) or "anything"

    def _fail(
        self,
        problem: str,
        events: list[Event],
        wanted: str | re.Pattern[str] | None,
        fields: Mapping[str, Any],
    ) -> None:
        __tracebackhide__ = True
        lines = [self._line(event) for event in events]
        message = [f"{problem}; {len(events)} events were captured"]
        message += self._near(events, lines, wanted, fields)
        message += [f"  {line}" for line in lines[:_LINES_SHOWN]]
        if len(lines) > _LINES_SHOWN:
            kinds = Counter(event.names[1] for event in events[_LINES_SHOWN:])
            rest = ", ".join(f"{count} {action}" for action, count in kinds.most_common(5))
            message.append(f"  … and {len(lines) - _LINES_SHOWN} more: {rest}")
        raise AssertionError("\n".join(message))

    def _near(
        self,
        events: list[Event],
        lines: list[str],
        wanted: str | re.Pattern[str] | None,
        fields: Mapping[str, Any],
    ) -> list[str]:
        """What comes nearest: the fields that do not fit, or a line like it."""
        if fields and events:
            right = [
                [name for name, e in fields.items()
                 if fits(value_of(event, self.annotations(event), name), e)]
                for event in events
            ]  # fmt: skip
            best = max(range(len(events)), key=lambda i: len(right[i]))
            if right[best]:
                event = events[best]
                wrong = {
                    name: value_of(event, self.annotations(event), name)
                    for name in fields
                    if name not in right[best]
                }
                if wrong:
                    but = ", ".join(f"{name} is {value!r}" for name, value in wrong.items())
                    return [f"nearest, but {but}:", f"  {lines[best]}", "all of them:"]
        if isinstance(wanted, str):
            like = difflib.get_close_matches(wanted, lines, n=1, cutoff=0.4)
            if like:
                return ["nearest:", f"  {like[0]}", "all of them:"]
        return []


def _shown(expected: Any) -> str:
    if isinstance(expected, re.Pattern):
        return f"/{expected.pattern}/"
    return getattr(expected, "__name__", None) or repr(expected)
