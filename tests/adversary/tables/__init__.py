"""The tables, by the door that is tried. Everything in one list, in the order in which it is run."""

from tests.adversary.cases import Case
from tests.adversary.tables import api, bulk, callbacks, costly, http, pages

CASES: list[Case] = [*bulk.CASES, *callbacks.CASES, *api.CASES, *http.CASES, *pages.CASES, *costly.CASES]
