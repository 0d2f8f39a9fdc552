"""A delivery's text for each message: placeholders filled, and short URLs in place of the links that are tracked.

Made once and filled a million times. Short URLs come from `links/shortening.py`. A placeholder inside a tracked link is not
filled here, but its value must be there, too: the link leads nowhere sensible without it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from app.links.shortening import Shortener
from app.texts.placeholders import MissingParam, Template, written
from app.texts.urls import Link, find_links


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    #: Every placeholder, those inside of links as well, in the order of first use.
    names: tuple[str, ...]
    #: Links stand in it as placeholders with a name that no param can have.
    template: Template
    #: What stands where there is no value: of each placeholder with defaults the longest.
    defaults: Mapping[str, str]
    #: Placeholders without a default that stand inside of tracked links only.
    _in_links: tuple[str, ...]
    _numbers: tuple[tuple[str, int], ...]
    _shortener: Shortener | None = field(repr=False)

    @classmethod
    def of(cls, content: str, shortener: Shortener | None) -> Self:
        """`shortener` none: links stay as they are."""
        numbers = shortener.numbers if shortener is not None else {}
        links = [link for link in find_links(content) if link.text in numbers]
        whole = Template.parse(content)
        template = _with_slots(content, links)
        here = frozenset(template.required)
        return cls(
            names=whole.names,
            template=template,
            defaults=whole.defaults,
            _in_links=tuple(name for name in whole.required if name not in here),
            _numbers=tuple({_slot(link): numbers[link.text] for link in links}.items()),
            _shortener=shortener,
        )

    @property
    def is_fixed(self) -> bool:
        """Whether all messages have the same text but for their short URLs."""
        return not self.names

    def short_urls(self, message_id: int) -> Mapping[str, str]:
        """What `render` needs of a message; empty for a text without tracked links."""
        if self._shortener is None:
            return {}
        make = self._shortener.url
        return {slot: make(message_id, number) for slot, number in self._numbers}

    def alike(self, first_id: int, last_id: int) -> Mapping[str, str] | None:
        """Short URLs that are as long as those of each message from one to the other; None when these differ."""
        least, most = self.short_urls(first_id), self.short_urls(last_id)
        return most if all(len(url) == len(least[slot]) for slot, url in most.items()) else None

    def render(self, params: Mapping[str, Any], short_urls: Mapping[str, str]) -> str:
        """The text of one message. Raises `MissingParam` for a placeholder without a value."""
        for name in self._in_links:
            if not written(params.get(name)):
                raise MissingParam(name)
        return self.template.render({**params, **short_urls} if short_urls else params)

    def filled(self, values: Mapping[str, str], short_urls: Mapping[str, str]) -> str:
        """The text with what is there; a placeholder without a value is left out."""
        return self.template.filled({**values, **short_urls})


def link_texts(content: str | None) -> list[str]:
    """The links in the order of first appearance, each once, as they stand there."""
    return list(dict.fromkeys(link.text for link in find_links(content or "")))


def short_url_length(shortener: Shortener | None, last_id: int) -> int | None:
    """Characters of a short URL in messages up to this one, at most; None when there are none."""
    if shortener is None or not shortener.numbers:
        return None
    return len(shortener.url(last_id, next(iter(shortener.numbers.values()))))


def _with_slots(content: str, links: list[Link]) -> Template:
    pieces: list[Template] = []
    end = 0
    for link in links:
        pieces += Template.parse(content[end : link.start]), Template.slot(_slot(link))
        end = link.end
    return Template.joined([*pieces, Template.parse(content[end:])])


def _slot(link: Link) -> str:
    return f"\0{link.text}"
