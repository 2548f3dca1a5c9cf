"""Rules of `ir/passes/canonical.py` and `folding.py`: rule, graph before, graph after."""

from __future__ import annotations

CASES: list[tuple[str, str, str]] = [
    (
        "reshape_of_reshape",
        """
%0 = input("x") : float32[2,3]
%1 = reshape(%0, shape=(6,)) : float32[6]
%2 = reshape(%1, shape=(3, 2)) : float32[3,2]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = reshape(%0, shape=(3, 2)) : float32[3,2]
return %1
""",
    ),
    (
        "reshape_of_reshape",
        """
%0 = input("x") : float32[2,3]
%1 = reshape(%0, shape=(2, 3)) : float32[2,3]
return %1
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "reshape_of_reshape",
        """
%0 = input("x") : float32[]
%1 = broadcast_to(%0, shape=(2, 3)) : float32[2,3]
%2 = reshape(%1, shape=(6,)) : float32[6]
return %2
""",
        """
%0 = input("x") : float32[]
%1 = broadcast_to(%0, shape=(6,)) : float32[6]
return %1
""",
    ),
    (
        "broadcast_of_broadcast",
        """
%0 = input("x") : float32[3]
%1 = broadcast_to(%0, shape=(2, 3)) : float32[2,3]
%2 = broadcast_to(%1, shape=(4, 2, 3)) : float32[4,2,3]
return %2
""",
        """
%0 = input("x") : float32[3]
%1 = broadcast_to(%0, shape=(4, 2, 3)) : float32[4,2,3]
return %1
""",
    ),
    (
        "broadcast_of_broadcast",
        """
%0 = const([2.5]) : float32[1]
%1 = broadcast_to(%0, shape=(2, 3)) : float32[2,3]
return %1
""",
        """
%0 = const(2.5) : float32[]
%1 = broadcast_to(%0, shape=(2, 3)) : float32[2,3]
return %1
""",
    ),
    (
        "cast_to_itself",
        """
%0 = input("x") : float32[2,3]
%1 = cast(%0, dtype="float32") : float32[2,3]
return %1
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "cast_to_itself",
        """
%0 = input("x") : float32[3]
%1 = broadcast_to(%0, shape=(2, 3)) : float32[2,3]
%2 = cast(%1, dtype="int32") : int32[2,3]
return %2
""",
        """
%0 = input("x") : float32[3]
%1 = cast(%0, dtype="int32") : int32[3]
%2 = broadcast_to(%1, shape=(2, 3)) : int32[2,3]
return %2
""",
    ),
    (
        "cast_chain",
        """
%0 = input("x") : float16[3]
%1 = cast(%0, dtype="float32") : float32[3]
%2 = cast(%1, dtype="bfloat16") : bfloat16[3]
return %2
""",
        """
%0 = input("x") : float16[3]
%1 = cast(%0, dtype="bfloat16") : bfloat16[3]
return %1
""",
    ),
    (
        "cast_chain",
        """
%0 = input("x") : uint8[3]
%1 = cast(%0, dtype="float16") : float16[3]
%2 = cast(%1, dtype="int32") : int32[3]
return %2
""",
        """
%0 = input("x") : uint8[3]
%1 = cast(%0, dtype="int32") : int32[3]
return %1
""",
    ),
    (
        "cast_chain",
        """
%0 = input("x") : int8[3]
%1 = cast(%0, dtype="int32") : int32[3]
%2 = cast(%1, dtype="uint8") : uint8[3]
return %2
""",
        """
%0 = input("x") : int8[3]
%1 = cast(%0, dtype="uint8") : uint8[3]
return %1
""",
    ),
    (
        "cast_chain",
        """
%0 = input("x") : bool[3]
%1 = cast(%0, dtype="bfloat16") : bfloat16[3]
%2 = cast(%1, dtype="bool") : bool[3]
return %2
""",
        """
%0 = input("x") : bool[3]
%1 = cast(%0, dtype="bool") : bool[3]
return %1
""",
    ),
    (
        "extremum_of_extremum",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.0) : float32[]
%2 = maximum(%0, %1) : float32[2,3]
%3 = const(2.0) : float32[]
%4 = maximum(%2, %3) : float32[2,3]
return %4
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(2.0) : float32[]
%2 = maximum(%0, %1) : float32[2,3]
return %2
""",
    ),
    (
        "extremum_of_extremum",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.0) : float32[]
%2 = minimum(%0, %1) : float32[2,3]
%3 = const(nan) : float32[]
%4 = minimum(%2, %3) : float32[2,3]
return %4
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(nan) : float32[]
%2 = minimum(%0, %1) : float32[2,3]
return %2
""",
    ),
    (
        "whole_slice",
        """
%0 = input("x") : float32[2,3]
%1 = slice(%0, start=(0, 0), step=(1, 1), stop=(2, 3)) : float32[2,3]
return %1
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "slice_of_slice",
        """
%0 = input("x") : float32[20]
%1 = slice(%0, start=(2,), step=(3,), stop=(19,)) : float32[6]
%2 = slice(%1, start=(1,), step=(2,), stop=(6,)) : float32[3]
return %2
""",
        """
%0 = input("x") : float32[20]
%1 = slice(%0, start=(5,), step=(6,), stop=(18,)) : float32[3]
return %1
""",
    ),
    (
        "slice_of_part",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = concat(%0, %1, axis=1) : float32[2,6]
%3 = slice(%2, start=(0, 3), step=(1, 2), stop=(1, 6)) : float32[1,2]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = slice(%1, start=(0, 0), step=(1, 2), stop=(1, 3)) : float32[1,2]
return %2
""",
    ),
    (
        "slice_of_part",
        """
%0 = input("x") : float32[2,3]
%1 = pad(%0, high=(0, 2), interior=(0, 0), low=(1, 1), value=0) : float32[3,6]
%2 = slice(%1, start=(1, 2), step=(1, 1), stop=(3, 4)) : float32[2,2]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = slice(%0, start=(0, 1), step=(1, 1), stop=(2, 3)) : float32[2,2]
return %1
""",
    ),
    (
        "concat_of_slices",
        """
%0 = input("x") : float32[2,3]
%1 = slice(%0, start=(1, 0), step=(1, 1), stop=(2, 1)) : float32[1,1]
%2 = slice(%0, start=(1, 1), step=(1, 1), stop=(2, 3)) : float32[1,2]
%3 = concat(%1, %2, axis=1) : float32[1,3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = slice(%0, start=(1, 0), step=(1, 1), stop=(2, 3)) : float32[1,3]
return %1
""",
    ),
    (
        "concat_of_one",
        """
%0 = input("x") : float32[2,3]
%1 = concat(%0, axis=1) : float32[2,3]
return %1
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "concat_of_concat",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = concat(%0, %1, axis=1) : float32[2,6]
%3 = concat(%2, %0, axis=1) : float32[2,9]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = concat(%0, %1, %0, axis=1) : float32[2,9]
return %2
""",
    ),
    (
        "sum_of_parts",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = pad(%0, high=(0, 3), interior=(0, 0), low=(0, 0), value=0) : float32[2,6]
%3 = pad(%1, high=(0, 0), interior=(0, 0), low=(0, 3), value=0) : float32[2,6]
%4 = add(%2, %3) : float32[2,6]  # dense [backward]
return %4
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = concat(%0, %1, axis=1) : float32[2,6]  # dense [backward]
return %2
""",
    ),
    (
        "reduce_nothing",
        """
%0 = input("x") : float32[2,1]
%1 = reduce_max(%0, axes=(1,), keepdims=False) : float32[2]
return %1
""",
        """
%0 = input("x") : float32[2,1]
%1 = reshape(%0, shape=(2,)) : float32[2]
return %1
""",
    ),
    (
        "reduce_nothing",
        """
%0 = input("x") : float32[2,3]
%1 = reduce_sum(%0, axes=(1,), keepdims=True) : float32[2,1]
return %1
""",
        """
%0 = input("x") : float32[2,3]
%1 = reduce_sum(%0, axes=(1,), keepdims=False) : float32[2]
%2 = reshape(%1, shape=(2, 1)) : float32[2,1]
return %2
""",
    ),
    (
        "reduce_of_number",
        """
%0 = const(2.0) : float32[]
%1 = broadcast_to(%0, shape=(4, 3)) : float32[4,3]
%2 = reduce_prod(%1, axes=(0,), keepdims=False) : float32[3]
return %2
""",
        """
%0 = const(16.0) : float32[]
%1 = broadcast_to(%0, shape=(3,)) : float32[3]
return %1
""",
    ),
    (
        "sum_of_broadcast",
        """
%0 = input("x") : float32[2,1]
%1 = broadcast_to(%0, shape=(4, 2, 3)) : float32[4,2,3]
%2 = reduce_sum(%1, axes=(0, 2), keepdims=False) : float32[2]
return %2
""",
        """
%0 = input("x") : float32[2,1]
%1 = reshape(%0, shape=(2,)) : float32[2]
%2 = const(12.0) : float32[]
%3 = mul(%1, %2) : float32[2]
%4 = broadcast_to(%3, shape=(2,)) : float32[2]
return %4
""",
    ),
    (
        "hoist_broadcast",
        """
%0 = input("x") : float32[]
%1 = broadcast_to(%0, shape=(2, 3)) : float32[2,3]
%2 = exp(%1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[]
%1 = exp(%0) : float32[]
%2 = broadcast_to(%1, shape=(2, 3)) : float32[2,3]
return %2
""",
    ),
    (
        "drop_broadcast",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[3]
%2 = broadcast_to(%1, shape=(2, 3)) : float32[2,3]
%3 = mul(%0, %2) : float32[2,3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[3]
%2 = mul(%0, %1) : float32[2,3]
return %2
""",
    ),
    (
        "fold_constants",
        """
%0 = const([1.0, 2.0]) : float32[2]
%1 = reshape(%0, shape=(2, 1)) : float32[2,1]
%2 = neg(%1) : float32[2,1]
return %2
""",
        """
%0 = const([-1.0, -2.0]) : float32[2,1]
return %0
""",
    ),
]
