"""How much is measured: the full plan, and a quick one to try the program."""

from __future__ import annotations

from dataclasses import dataclass, field

#: ns of the ruler that times are checked at.
LENGTHS_NS = (5_000, 50_000, 500_000, 5_000_000)


@dataclass(frozen=True, slots=True)
class Mix:
    """A loop like decoding: so many tokens, each so many layers, each these kernels (ns)."""

    name: str
    tokens: int
    layers: int
    kernels_ns: tuple[int, ...]

    @property
    def launches(self) -> int:
        return self.tokens * self.layers * len(self.kernels_ns)


@dataclass(frozen=True, slots=True)
class Plan:
    """``batch``: launches of a length behind one blocker, which holds the stream until
    all of them are queued.
    """

    samples: dict[int, int] = field(
        default_factory=lambda: {5_000: 1_000, 50_000: 1_000, 500_000: 500, 5_000_000: 100}
    )
    batch: int = 20
    blocker_ns: int = 5_000_000
    pair_turns: int = 41
    pair_launches: int = 200
    loop_turns: int = 21
    placed: int = 300
    mixes: tuple[Mix, ...] = (
        Mix("small launches", 20, 32, (2_000,) * 7),
        Mix("realistic mix", 60, 24, (2_000, 40_000, 2_000, 10_000, 2_000, 60_000, 2_000)),
    )

    def was_behind(self, queueing_ns: int) -> bool:
        """Whether work that took so long to queue was all queued behind the blocker."""
        return queueing_ns < 0.8 * self.blocker_ns


QUICK = Plan(
    samples=dict.fromkeys(LENGTHS_NS, 4),
    batch=2,
    pair_turns=3,
    pair_launches=10,
    loop_turns=3,
    placed=5,
    mixes=(Mix("small launches", 2, 2, (2_000,) * 3), Mix("realistic mix", 2, 2, (2_000, 40_000))),
)
