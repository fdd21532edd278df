"""The fixtures of the chaos serve here too."""

from chaos.conftest import clean_environment, emulator, hard_limit, nothing_left

__all__ = ["clean_environment", "emulator", "hard_limit", "nothing_left"]
