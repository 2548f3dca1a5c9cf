"""Policies by layer path."""

from __future__ import annotations

import re
from collections.abc import Iterator, MutableMapping
from typing import Any

from graphkeras.dtype_policies.policy import DTypePolicy, dtype_policy


class DTypePolicyMap(DTypePolicy, MutableMapping):
    """A dict from layer paths (or regular expressions of them) to policies.

    Args:
        default_policy: the policy of layers that nothing matches; None: the global one.
        policy_map: first entries.

    Lookup takes the exact path first, then the one key that matches as a regular expression; two that match are an
    error.
    """

    def __init__(self, default_policy: Any = None, policy_map: dict[str, Any] | None = None) -> None:
        from graphkeras.dtype_policies import get

        if isinstance(default_policy, DTypePolicyMap):
            raise ValueError("`default_policy` cannot be a `DTypePolicyMap`.")
        if policy_map is not None and not isinstance(policy_map, dict):
            raise TypeError(
                f"If specified, `policy_map` must be a dict. Received: policy_map={policy_map} "
                f"(of type {type(policy_map)})"
            )
        self._default_policy_arg = default_policy
        self._default_policy = get(default_policy)
        self._policy_map: dict[str, DTypePolicy] = {}
        for key, policy in (policy_map or {}).items():
            self[key] = policy

    # What a layer sees that has no path yet.
    @property
    def name(self) -> str:
        return "map_" + self.default_policy._name

    @property
    def default_policy(self) -> DTypePolicy:
        return self._default_policy

    @property
    def variable_dtype(self) -> str:
        return self.default_policy.variable_dtype

    @property
    def compute_dtype(self) -> str:
        return self.default_policy.compute_dtype

    @property
    def quantization_mode(self) -> str | None:
        return self.default_policy.quantization_mode

    def __getitem__(self, key: str) -> DTypePolicy:
        if key in self._policy_map:
            return self._policy_map[key]
        matching = [k for k in self._policy_map if re.fullmatch(k, key)]
        if len(matching) > 1:
            raise ValueError(
                f"Path '{key}' matches multiple dtype policy specification keys: {matching}. Please make sure each "
                "path only matches at most one dtype policy specification key in the DTypePolicyMap."
            )
        return self._policy_map[matching[0]] if matching else self.default_policy

    def __setitem__(self, key: str, policy: Any) -> None:
        from graphkeras.dtype_policies import get

        if key in self._policy_map:
            raise ValueError(
                f"{key} already exist in the DTypePolicyMap with value {self._policy_map[key]}. Delete it first, "
                "or use another key."
            )
        try:
            policy = get(policy)
        except Exception:
            raise ValueError(
                f"Cannot interpret the policy of {key!r}. Expected the name of a policy or a DTypePolicy. "
                f"Received: {policy} (of type {type(policy)})"
            ) from None
        if isinstance(policy, DTypePolicyMap):
            raise ValueError(f"A DTypePolicyMap cannot be a value of a DTypePolicyMap. Received it for {key!r}.")
        self._policy_map[key] = policy

    def __delitem__(self, key: str) -> None:
        del self._policy_map[key]

    def __contains__(self, key: object) -> bool:
        return key in self._policy_map

    def __len__(self) -> int:
        return len(self._policy_map)

    def __iter__(self) -> Iterator[str]:
        return iter(self._policy_map)

    def get_config(self) -> dict[str, Any]:
        from graphkeras.dtype_policies import serialize

        policy_map = {}
        for key, policy in self._policy_map.items():
            config = serialize(policy)
            policy_map[key] = config
        default = self._default_policy_arg
        return {
            "default_policy": serialize(default) if isinstance(default, DTypePolicy) else default,
            "policy_map": policy_map,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> DTypePolicyMap:
        from graphkeras.dtype_policies import deserialize

        default = config.get("default_policy")
        entries = {k: deserialize(v) if isinstance(v, dict) else v for k, v in config.get("policy_map", {}).items()}
        return cls(default_policy=deserialize(default) if isinstance(default, dict) else default, policy_map=entries)

    def __repr__(self) -> str:
        default = self._default_policy.name if self._default_policy is not None else dtype_policy().name
        lines = "".join(f'\n  "{k}": {v!r},' for k, v in self._policy_map.items())
        return f'<DTypePolicyMap default_policy="{default}" policies=[{lines}]>'

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, DTypePolicyMap)
            and self._default_policy == other._default_policy
            and self._policy_map == other._policy_map
        )

    __hash__ = object.__hash__
