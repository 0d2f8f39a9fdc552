"""What a preparation counts on its way. It stands in the database between transactions, so that a killed one goes on."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from time import perf_counter
from types import MappingProxyType
from typing import Any, Self

from app.texts.encoding import measure
from app.texts.placeholders import written

#: Targets of which a finding names the positions.
NAMED_POSITIONS = 10
_NONE: Mapping[str, str] = MappingProxyType({})


@dataclass(slots=True)
class Step:
    """`seconds` of work; steps overlap, so their sum may be more than the whole took."""

    count: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Tally:
    """Plain JSON by `asdict`, and back by `load`."""

    steps: dict[str, Step] = field(default_factory=dict)
    messages: int = 0
    parts: int = 0
    excluded: dict[str, int] = field(default_factory=dict)
    #: Of each placeholder the longest value, and the longest one that is not in GSM-7.
    longest: dict[str, str] = field(default_factory=dict)
    foreign: dict[str, str] = field(default_factory=dict)
    #: Of each placeholder without a value in some messages: how many, and the first targets.
    missing: dict[str, int] = field(default_factory=dict)
    missing_at: dict[str, list[int]] = field(default_factory=dict)
    #: Of each placeholder with a default: in how many texts that stands.
    defaulted: dict[str, int] = field(default_factory=dict)

    @property
    def targets(self) -> int:
        return self.messages + sum(self.excluded.values())

    @classmethod
    def load(cls, figures: Mapping[str, Any]) -> Self:
        steps = {name: Step(**step) for name, step in figures.get("steps", {}).items()}
        return cls(**{**figures, "steps": steps})

    def dump(self) -> dict[str, Any]:
        return asdict(self)

    @contextmanager
    def step(self, name: str, count: int = 0) -> Iterator[None]:
        """Counts and times what is done in the block."""
        began = perf_counter()
        yield
        self.add_step(name, count, perf_counter() - began)

    def add_step(self, name: str, count: int, seconds: float) -> None:
        step = self.steps.setdefault(name, Step())
        step.count += count
        step.seconds += seconds

    def note_params(
        self, names: Sequence[str], params: Mapping[str, Any], *, foreign: bool, defaults: Mapping[str, str] = _NONE
    ) -> None:
        """Keeps what is longer than all before. `foreign`: some value is not in GSM-7. `defaults`: of the names that have one."""
        for name in names:
            value = params.get(name)
            if value.__class__ is not str:
                value = written(value)
            if name in defaults and not value.strip():
                value = defaults[name]
                self.defaulted[name] = self.defaulted.get(name, 0) + 1
            if len(value) > len(self.longest.get(name, "")):
                self.longest[name] = value
            if foreign and len(value) > len(self.foreign.get(name, "")) and measure(value).encoding == "ucs2":
                self.foreign[name] = value

    def note_outcomes(
        self, reason: str | None, targets: int, parts: int, missing: str | None, at: Sequence[int]
    ) -> None:
        """What became of some targets: `reason` none for messages; `missing` what their text lacks, `at` which targets."""
        if reason is not None:
            self.excluded[reason] = self.excluded.get(reason, 0) + targets
            return
        self.messages += targets
        self.parts += parts
        if missing is not None:
            self.missing[missing] = self.missing.get(missing, 0) + targets
            self.missing_at[missing] = [*self.missing_at.get(missing, ()), *at][:NAMED_POSITIONS]

    def merged(self, other: "Tally") -> "Tally":
        """Both together; neither is changed."""
        both = Tally.load(self.dump())
        for name, step in other.steps.items():
            both.add_step(name, step.count, step.seconds)
        for reason, targets in other.excluded.items():
            both.note_outcomes(reason, targets, 0, None, ())
        both.messages += other.messages
        both.parts += other.parts
        for name, targets in other.missing.items():
            both.missing[name] = both.missing.get(name, 0) + targets
            both.missing_at[name] = [*both.missing_at.get(name, ()), *other.missing_at[name]][:NAMED_POSITIONS]
        for name, targets in other.defaulted.items():
            both.defaulted[name] = both.defaulted.get(name, 0) + targets
        both.longest = _longer(self.longest, other.longest)
        both.foreign = _longer(self.foreign, other.foreign)
        return both

    def longest_params(self, filled: Callable[[Mapping[str, str]], str]) -> dict[str, str]:
        """Values by which the text (as `filled` makes it of them) becomes as long as it possibly can. One character that is
        not in GSM-7 makes all others dearer, so each placeholder's longest value with such a character is tried beside the
        longest of all."""
        tries = [self.longest, *({**self.longest, name: value} for name, value in self.foreign.items())]
        return max(tries, key=lambda values: _dearness(measure(filled(values))))


def _dearness(size: Any) -> tuple[int, float]:
    return size.parts, size.units / size.per_part


def _longer(one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    return {name: max(one.get(name, ""), other.get(name, ""), key=len) for name in {**one, **other}}
