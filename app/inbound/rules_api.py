"""The reply rules of a gateway: what STOP means there, and what is answered to it."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Any, Self

from fastapi import APIRouter, Body, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from app import audit
from app.accounts.directory import directory_of
from app.api.fields import PathName, Plain, one_line, refused
from app.db import load_queries, unless_away, writing
from app.errors import Invalid, NotFound
from app.gateways.receipt import Gateway
from app.inbound.rules import REST, Match, Rule, RuleAction, Scope, Source, is_keyword, rules_of, stored
from app.security import GatewayReader, GatewayWriter, Principal

QUERIES = load_queries(__file__)

router = APIRouter(prefix="/v1", tags=["gateways"])

#: Three parts of an SMS, about.
_LONGEST_REPLY = 480


def _keyword(text: str) -> str:
    if not is_keyword(text):
        raise refused("A keyword is one to five words of letters and digits, 40 characters at the most; or `*`.")
    return text


def _printable(text: str) -> str:
    if not text.replace("\n", "").isprintable():
        raise refused("Control characters are not allowed, but for line ends.")
    return text


class RuleIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    keyword: Annotated[Plain, StringConstraints(strip_whitespace=True, max_length=40), AfterValidator(_keyword)] = (
        Field(
            description="A word, or several: what a text begins with. Case, accents and punctuation do not matter. `*` "
            "takes whatever no other rule takes."
        )
    )
    action: RuleAction
    match: Match = Field(
        "word",
        description="`word`: the first word, or words · `prefix`: also words that only begin with it · `exact`: the whole "
        "text. For `allow` always `exact`.",
    )
    short_code: (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=40), AfterValidator(one_line)]
        | None
    ) = Field(None, description="Only for messages to this number or short code of yours; null: to any.")
    reply: Annotated[Plain, Field(min_length=1, max_length=_LONGEST_REPLY), AfterValidator(_printable)] | None = Field(
        None, description="Sent back, where the gateway's protocol has a way (Twilio's TwiML)."
    )
    scope: Scope = Field(
        "address", description="`address`: whoever sends; `sender`: only from the number that was written to."
    )

    country: Annotated[Plain, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(None, description="ISO 3166.")
    language: Annotated[Plain, StringConstraints(pattern=r"^[a-z]{2,3}$")] | None = Field(None, description="ISO 639.")
    source: Source = Field(
        "custom",
        description="`law`: a regulator names the word · `provider`: providers or carriers do · `custom`: usage, or yours.",
    )

    @model_validator(mode="after")
    def _opt_in_has_a_word(self) -> Self:
        if self.keyword == REST and self.action == "allow":
            raise refused("An opt-in needs a word of its own: `*` can only have the action `denylist` or `none`.")
        return self

    def rule(self) -> Rule:
        rule = Rule(**self.model_dump())
        return replace(rule, match=rule.matches)


class RulesIn(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rules: Annotated[list[RuleIn], Field(min_length=1, max_length=100)] | None = Field(
        description="Tried top to bottom; the first that matches wins. Null: those that are shipped."
    )


class RuleOut(BaseModel):
    keyword: str
    action: RuleAction
    match: Match
    short_code: str | None
    reply: str | None
    scope: Scope
    country: str | None
    language: str | None
    source: Source


class RulesOut(BaseModel):
    shipped: bool = Field(description="The gateway has no rules of its own.")
    rules: list[RuleOut] = Field(description="Tried top to bottom; the first that matches wins.")


@router.get("/gateways/{key}/reply-rules", summary="What replies to a gateway mean")
async def read_rules(request: Request, principal: GatewayReader, key: PathName) -> RulesOut:
    """Its own rules, or those that are shipped: STOP, STOPALL, UNSUBSCRIBE, REVOKE, OPTOUT, OPT OUT, BAJA, PARAR and
    ARRET opt out as first word; END, QUIT, CANCEL and ALTO alone; START, UNSTOP and ALTA, alone, opt in."""
    return _shown((await _gateway(request, key)).reply_rules, principal)


@router.put("/gateways/{key}/reply-rules", summary="Change what replies to a gateway mean")
async def write_rules(
    request: Request,
    principal: GatewayWriter,
    key: PathName,
    wish: Annotated[RulesIn | None, Body()] = None,
) -> RulesOut:
    """All of them at once; `{"rules": null}` goes back to those that are shipped. They hold for replies that are applied
    from now on; `POST /v1/gateways/{key}/test` says what a reply would do."""
    if wish is None and not (await request.body()).strip():
        raise Invalid.field("", "Give the rules; null for those that are shipped.")
    rules = None if wish is None or wish.rules is None else stored(each.rule() for each in wish.rules)
    gateway = await _gateway(request, key)
    async with writing(request) as connection:
        row = await connection.fetchrow(QUERIES["lock_rules"], gateway.id)
        if row is None:
            raise NotFound("There is no such gateway.")
        if row["reply_rules"] != rules:
            now = datetime.now(UTC)
            await connection.execute(QUERIES["set_rules"], gateway.id, rules, now)
            said = {"changed": {"reply_rules": {"from": row["reply_rules"], "to": rules}}}
            await audit.append(
                connection, audit.PLATFORM, "GTW-CHANGED", f"Gateway {key} was changed: reply_rules.",
                at=now, actor=principal.name, data={"key": key}, personal=said,
            )  # fmt: skip
    with unless_away():  # what is committed stands; the refresher tries again by itself
        await directory_of(request).refresh()
    return _shown(rules, principal)


async def _gateway(request: Request, key: str) -> Gateway:
    gateway: Gateway | None = await directory_of(request).find(key)
    if gateway is None:
        raise NotFound("There is no such gateway.")
    return gateway


def _shown(rules: Sequence[Any] | None, principal: Principal) -> RulesOut:
    found = [RuleOut(**principal.shown(each)) for each in stored(rules_of(rules))]
    return RulesOut(shipped=rules is None, rules=found)
