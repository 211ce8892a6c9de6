"""Telling options of ``nsys profile`` from ours on the command line of ``run``."""

from __future__ import annotations

import click

_KEY = "gpu_narration.nsys_options"
#: Options of nsys that take no value, which would look as if they took the script.
_SWITCHES = frozenset({"-h", "--help"})


class RunCommand(click.Command):
    """``run``, where options of nsys may stand directly after ``--nsys``.

    They end at the first word that is no option, and at the first option of ours.  As
    nsys itself has it, a long option holds its value (``--sample=none``) and a short one
    is followed by it (``-s none``).
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        place = self._place_of_nsys(ctx, args)
        if place is None:
            return super().parse_args(ctx, args)
        end = place + 1
        ours = self._names(ctx)
        while end < len(args) and args[end].startswith("-") and args[end] not in ("-", "--"):
            name, equals, _ = args[end].partition("=")
            if name in ours or name in _SWITCHES:
                break
            if not name.startswith("--") and not equals and len(name) == 2:
                end += 1
            end += 1
        ctx.meta[_KEY] = tuple(args[place + 1 : end])
        return super().parse_args(ctx, args[: place + 1] + args[end:])

    def _place_of_nsys(self, ctx: click.Context, args: list[str]) -> int | None:
        """Where ``--nsys`` stands among our options, before the program."""
        takes_value = {
            name
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option) and not parameter.is_flag
            for name in parameter.opts
        }
        place = 0
        while place < len(args) and args[place].startswith("-") and args[place] not in ("-", "--"):
            if args[place] == "--nsys":
                return place
            place += 2 if args[place] in takes_value else 1
        return None

    def _names(self, ctx: click.Context) -> set[str]:
        return {
            name
            for parameter in self.get_params(ctx)
            if isinstance(parameter, click.Option)
            for name in (*parameter.opts, *parameter.secondary_opts)
        }


def nsys_options(ctx: click.Context) -> tuple[str, ...]:
    """The options of nsys that were given."""
    found: tuple[str, ...] = ctx.meta.get(_KEY, ())
    return found
