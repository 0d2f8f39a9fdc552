"""Attacks on the real service, as tables: what is sent, what must come back, and what the service must not feel."""
