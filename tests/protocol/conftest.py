"""How random tests run here: a failure prints what replays it, and a busy machine fails none."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "masivo",
    max_examples=60,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("masivo")
