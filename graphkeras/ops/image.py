"""The ops on images."""


__all__ = [
]
