"""Nothing at the door is of no kind: every parameter of every route and every field of every model that is taken.

Whoever adds one with a bare `str`, `int`, `bool`, `float`, `datetime` or `dict` fails here: the kinds of
`app/api/fields.py` know what the database and the calendar cannot hold, so that no field must remember it.
"""

import importlib
import inspect
import pkgutil
import types
from collections.abc import Callable, Iterator
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pytest
from fastapi import params
from fastapi.routing import iter_route_contexts
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, StringConstraints
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings
from starlette.requests import HTTPConnection

import app as package
from app.api import fields
from app.main import create_app
from app.settings import Settings

#: What makes a value of its kind. Whoever checks a text in another way says so here, with the reason.
CHECKS: dict[type, set[Callable[..., Any]]] = {
    str: {fields.plain, fields.one_line, fields.region, fields.looked_up},
    int: {fields.whole, fields.asked_whole},
    bool: {fields.flag, fields.asked_flag},
    float: {fields.number, fields.asked_number},
    datetime: {fields.time},
    dict: {fields.free_json},
    list: {fields.split},
}


def faults(annotation: Any, metadata: tuple[Any, ...] = ()) -> Iterator[str]:
    """What is of no kind in a type."""
    if hasattr(annotation, "__value__"):
        annotation = annotation.__value__
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        yield from faults(inner, (*metadata, *flat(more)))
    elif origin in (Union, types.UnionType):
        for each in get_args(annotation):
            yield from faults(each, metadata)
    elif origin in (list, tuple, set, frozenset):
        if not any(isinstance(each, annotated_types.MaxLen) for each in metadata) and not checked(metadata, list):
            yield f"{annotation} has no bound"
        for each in get_args(annotation):
            yield from faults(each)
    elif origin is dict and Any not in get_args(annotation):
        yield from (each for part in get_args(annotation) for each in faults(part))
        if not any(isinstance(each, annotated_types.MaxLen) for each in metadata):
            yield f"{annotation} has no bound"
    elif origin is dict or annotation in (dict, Any):
        if not checked(metadata, dict):
            yield f"{annotation} is not checked as free JSON"
    elif (
        origin is Literal
        or annotation in (type(None), ...)
        or (inspect.isclass(annotation) and issubclass(annotation, Enum))
    ):
        return
    elif annotation in CHECKS:
        if not checked(metadata, annotation):
            yield f"{annotation.__name__} is of no kind"
        elif annotation is str and not bounded(metadata):
            yield "str without a longest length"
    elif not (inspect.isclass(annotation) and issubclass(annotation, BaseModel)):
        yield f"{annotation} is not known here"


def flat(metadata: Any) -> Iterator[Any]:
    for each in metadata:
        if isinstance(each, FieldInfo):
            yield from flat(each.metadata)
        yield each
        yield from (
            getattr(each, "__iter__", lambda: iter(()))() if isinstance(each, annotated_types.GroupedMetadata) else ()
        )


def checked(metadata: tuple[Any, ...], kind: type) -> bool:
    found = {each.func for each in metadata if isinstance(each, AfterValidator | BeforeValidator)}
    return bool(found & CHECKS[kind])


def bounded(metadata: tuple[Any, ...]) -> bool:
    return any(
        getattr(each, "max_length", None) is not None
        or getattr(each, "pattern", None) is not None
        or (isinstance(each, AfterValidator) and each.func is fields.region)
        for each in metadata
    )


def parameters(call: Callable[..., Any], seen: set[Any]) -> Iterator[tuple[str, Any, tuple[Any, ...]]]:
    """Of an endpoint and all that it depends on: name, type and what stands beside it."""
    if call in seen or call.__module__ == fields.__name__:  # ids of paths: kinds themselves
        return
    seen.add(call)
    for name, parameter in inspect.signature(call, eval_str=True).parameters.items():
        annotation = parameter.annotation
        inner, *metadata = get_args(annotation) if get_origin(annotation) is Annotated else (annotation,)
        depends = next((each for each in metadata if isinstance(each, params.Depends)), None)
        if depends is not None:
            yield from parameters(depends.dependency or inner, seen)
        elif not (inspect.isclass(inner) and issubclass(inner, HTTPConnection)):
            yield name, annotation, ()


def routes() -> list[Any]:
    service = create_app(Settings(database_url="postgresql://nowhere/x"))
    return [
        route.original_route if hasattr(route, "original_route") else route
        for route in iter_route_contexts(service.router.routes)
        if getattr(route, "endpoint", None) is not None and getattr(route, "path", "").startswith("/v1")
    ]


def models() -> list[type[BaseModel]]:
    """Those that are taken: whatever forbids other fields."""
    for module in pkgutil.walk_packages(package.__path__, "app."):
        if not module.name.startswith(("app.gateways", "app.demo")) and not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    found: list[type[BaseModel]] = []
    waiting = [BaseModel]
    while waiting:
        for each in waiting.pop().__subclasses__():
            waiting.append(each)
            ours = each.__module__.startswith("app.") and not each.__module__.startswith("app.gateways")
            if ours and each.model_config.get("extra") == "forbid" and not issubclass(each, BaseSettings):
                found.append(each)
    return sorted(set(found), key=lambda each: f"{each.__module__}.{each.__qualname__}")


def of_routes() -> list[str]:
    wrong = []
    for route in routes():
        for name, annotation, metadata in parameters(route.endpoint, set()):
            wrong += [
                f"{route.endpoint.__module__}.{route.endpoint.__name__}({name}): {each}"
                for each in faults(annotation, metadata)
            ]
    return wrong


def of_models() -> list[str]:
    wrong = []
    for model in models():
        for name, field in model.model_fields.items():
            found = faults(field.annotation, tuple(flat(field.metadata)))
            wrong += [f"{model.__module__}.{model.__name__}.{name}: {each}" for each in found]
    return wrong


def test_every_parameter_is_of_a_kind() -> None:
    assert of_routes() == []


def test_every_field_that_is_taken_is_of_a_kind() -> None:
    assert of_models() == []


def test_every_body_of_a_route_forbids_what_it_does_not_know() -> None:
    """So that the test above sees it."""
    bodies = {
        annotation
        for route in routes()
        for _, annotation, _ in parameters(route.endpoint, set())
        if inspect.isclass(annotation) and issubclass(annotation, BaseModel)
    }
    assert bodies
    assert [each.__name__ for each in bodies if each.model_config.get("extra") != "forbid"] == []


@pytest.mark.parametrize(
    "annotation",
    [
        str, int, bool, float, datetime, dict[str, Any], list[fields.Name], str | None, fields.Plain,
        Annotated[str, StringConstraints(max_length=5)], Annotated[list[str], Field(max_length=5)], Any,
    ],
)  # fmt: skip
def test_the_look_out_sees_what_is_bare(annotation: Any) -> None:
    assert list(faults(annotation))
