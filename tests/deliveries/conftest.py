"""Hypothesis without a stopwatch, as in tests/gateways: a busy machine makes no rule untrue."""

from hypothesis import HealthCheck, settings

settings.register_profile("acuse", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("acuse")
