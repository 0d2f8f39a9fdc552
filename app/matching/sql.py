"""The statements of this room: what makes keys, and what finds messages by them."""

from app.db import load_queries

QUERIES = load_queries(__file__)
