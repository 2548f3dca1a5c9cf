"""Scalar bodies of the POINTWISE ops."""


def __getattr__(name: str) -> None:
    if name.startswith("__"):
        raise AttributeError(name)
    return None
