"""The fixtures of the chaos serve here too."""

from chaos.conftest import nothing_left

__all__ = ["nothing_left"]
