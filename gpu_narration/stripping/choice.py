"""Which modules are stripped: ``GPU_NARRATION_STRIP`` and ``strip_on_import()``.

``import gpu_narration`` loads this file, so it needs nothing; the hook is imported
where something is to be stripped.
"""

from __future__ import annotations

import os
import sys

from gpu_narration._errors import OptionError, say

STRIP_VARIABLE = "GPU_NARRATION_STRIP"

_ALL = ("1", "true", "yes", "on")
_NONE = ("", "0", "false", "no", "off")
_OURS = "gpu_narration"


class Choice:
    """The packages whose modules are stripped, or all that are not Python's own or ours."""

    __slots__ = ("everything", "packages")

    def __init__(self, packages: frozenset[str] = frozenset(), *, everything: bool = False) -> None:
        self.packages = packages
        self.everything = everything

    def covers(self, module: str) -> bool:
        """Whether a module, by its full name, is to be stripped."""
        package = module.partition(".")[0]
        if package == _OURS:
            return False
        if self.everything:
            return package not in sys.stdlib_module_names
        return any(module == name or module.startswith(f"{name}.") for name in self.packages)

    def __bool__(self) -> bool:
        return self.everything or bool(self.packages)

    def __or__(self, other: Choice) -> Choice:
        return Choice(
            self.packages | other.packages, everything=self.everything or other.everything
        )

    def __str__(self) -> str:
        """As the variable says it."""
        return "1" if self.everything else ",".join(sorted(self.packages))


def parse(text: str) -> Choice:
    """What the variable's text chooses: ``1``, ``0``, or names of packages with commas between.

    Raises :class:`OptionError` for what is no name of a package.
    """
    if text.strip().lower() in _NONE:
        return Choice()
    if text.strip().lower() in _ALL:
        return Choice(everything=True)
    return Choice(frozenset(_package(name.strip()) for name in text.split(",") if name.strip()))


def _package(name: object) -> str:
    if isinstance(name, str) and all(part.isidentifier() for part in name.split(".")):
        return name
    raise OptionError(
        f"{name!r} is no name of a package to strip",
        meaning="modules of a package are stripped by its full name, as it is imported",
        next_step=f"write for example {STRIP_VARIABLE}=myapp,other.worker, or 1 for all of them",
    )


#: What strip_on_import() was given.
_asked = Choice()
#: The variable's text as it was read last, and what it chooses.
_read: tuple[str, Choice] = ("", Choice())


def chosen() -> Choice:
    """What is stripped in this process now; a variable that cannot be read chooses nothing."""
    global _read  # noqa: PLW0603 - a cache
    text = os.environ.get(STRIP_VARIABLE, "")
    if text != _read[0]:
        try:
            choice = parse(text)
        except OptionError as error:
            say(f"{STRIP_VARIABLE} is not followed: {error}")
            choice = Choice()
        _read = text, choice
    return _asked | _read[1] if _asked else _read[1]


def keeps_functions_plain(module: str) -> bool:
    """Whether ``trace_fn`` gives back the very function it is put on, in this module.

    ``python -O`` asks for that too.
    """
    if sys.flags.optimize > 0:
        return True
    choice = chosen()
    return bool(choice) and choice.covers(_name_of_main() if module == "__main__" else module)


def _name_of_main() -> str:
    """The name by which ``python -m`` was told to run the main module."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    return getattr(spec, "name", None) or "__main__"


def strip_on_import(*packages: str) -> None:
    """Takes the trace calls out of modules that are imported from now on.

    packages: names as they are imported (``"myapp"``, ``"other.worker"``), each with
        everything below it; without any, all modules outside of Python's own library.

    Does what ``GPU_NARRATION_STRIP`` does, in this process.  A module that is loaded
    already keeps its calls; a line on stderr names such modules, but for the caller's own
    and the packages it lies in.  See docs/off.md.

    Raises :class:`OptionError` for what is no name of a package.
    """
    global _asked  # noqa: PLW0603 - one choice a process
    added = Choice(frozenset(map(_package, packages)), everything=not packages)
    _asked = _asked | added
    _install()
    caller = sys._getframe(1).f_globals.get("__name__", "")
    _say_late(added, caller)


def strip_process(choice: Choice) -> None:
    """Strips from now on, here and in the processes that are started from here."""
    os.environ[STRIP_VARIABLE] = str(choice)
    _install()


def take_over(text: str) -> None:
    """Strips what the process that started this one strips."""
    global _asked  # noqa: PLW0603 - one choice a process
    _asked = _asked | parse(text)
    _install()


def _say_late(added: Choice, caller: str) -> None:
    """Names modules that are loaded already, where they were chosen by name."""
    if added.everything:
        return
    late = [
        name
        for name in sorted(sys.modules)
        if added.covers(name) and not f"{caller}.".startswith(f"{name}.")
    ]
    if late:
        more = f" and {len(late) - 3} more" if len(late) > 3 else ""
        say(
            f"{', '.join(late[:3])}{more} had been imported before and keep their trace calls; "
            "call strip_on_import() first [strip-late]"
        )


def _install() -> None:
    from gpu_narration.stripping import hook

    hook.install(chosen)


if chosen():
    _install()
