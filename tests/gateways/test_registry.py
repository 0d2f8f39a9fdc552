"""The kinds that we know: ours by hand, others' as plug-ins that cannot harm us."""

from importlib.metadata import EntryPoint

from app.gateways import GATEWAYS, OURS, with_outside
from app.gateways.receipt import Adapter, Callback, Gateway, Item


def nothing(callback: Callback, gateway: Gateway) -> list[Item]:
    return []


OUTSIDE = Adapter(kind="outside", label="Outside", source="here", methods=frozenset({"POST"}), parse=nothing)
IMPOSTOR = Adapter(kind="twilio", label="Twilio?", source="here", methods=frozenset({"POST"}), parse=nothing)
NO_ADAPTER = "a text"


def entry(name: str) -> EntryPoint:
    return EntryPoint(name=name.lower(), value=f"{__name__}:{name}", group="acuse.gateways")


def test_every_kind_stands_under_its_own_name() -> None:
    assert set(OURS) <= set(GATEWAYS)
    assert all(adapter.kind == kind for kind, adapter in GATEWAYS.items())


def test_a_package_can_bring_its_own_kind() -> None:
    assert with_outside(OURS, [entry("OUTSIDE")]) == {**OURS, "outside": OUTSIDE}


def test_a_broken_plug_in_costs_only_itself() -> None:
    broken = EntryPoint(name="broken", value="no.such.module:X", group="acuse.gateways")
    assert with_outside(OURS, [broken, entry("NO_ADAPTER"), entry("OUTSIDE")]).keys() == {*OURS, "outside"}


def test_a_kind_of_ours_cannot_be_replaced() -> None:
    assert with_outside(OURS, [entry("IMPOSTOR")]) == OURS
