"""Every rewriting rule as text: rule, graph before, graph after. The first lines of both are the inputs."""

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
        "transpose_of_transpose",
        """
%0 = input("x") : float32[2,3,4]
%1 = transpose(%0, perm=(1, 2, 0)) : float32[3,4,2]
%2 = transpose(%1, perm=(1, 0, 2)) : float32[4,3,2]
return %2
""",
        """
%0 = input("x") : float32[2,3,4]
%1 = transpose(%0, perm=(2, 1, 0)) : float32[4,3,2]
return %1
""",
    ),
    (
        "transpose_of_transpose",
        """
%0 = input("x") : float32[2,1,4]
%1 = transpose(%0, perm=(1, 0, 2)) : float32[1,2,4]
return %1
""",
        """
%0 = input("x") : float32[2,1,4]
%1 = reshape(%0, shape=(1, 2, 4)) : float32[1,2,4]
return %1
""",
    ),
    (
        "transpose_of_product",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[3,4]
%2 = dot_general(%0, %1, batch=((), ()), contract=((1,), (0,))) : float32[2,4]
%3 = transpose(%2, perm=(1, 0)) : float32[4,2]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[3,4]
%2 = dot_general(%1, %0, batch=((), ()), contract=((0,), (1,))) : float32[4,2]
return %2
""",
    ),
    (
        "product_of_transpose",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[4,3]
%2 = transpose(%1, perm=(1, 0)) : float32[3,4]
%3 = dot_general(%0, %2, batch=((), ()), contract=((1,), (0,))) : float32[2,4]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[4,3]
%2 = dot_general(%0, %1, batch=((), ()), contract=((1,), (1,))) : float32[2,4]
return %2
""",
    ),
    (
        "product_of_transpose",
        """
%0 = input("q") : float32[2,5,3,4]
%1 = input("k") : float32[2,6,3,4]
%2 = transpose(%0, perm=(0, 2, 1, 3)) : float32[2,3,5,4]
%3 = transpose(%1, perm=(0, 2, 3, 1)) : float32[2,3,4,6]
%4 = dot_general(%2, %3, batch=((0, 1), (0, 1)), contract=((3,), (2,))) : float32[2,3,5,6]
return %4
""",
        """
%0 = input("q") : float32[2,5,3,4]
%1 = input("k") : float32[2,6,3,4]
%2 = dot_general(%0, %1, batch=((0, 2), (0, 2)), contract=((3,), (3,))) : float32[2,3,5,6]
return %2
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
    (
        "mul_one",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.0) : float32[]
%2 = mul(%1, %0) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "mul_minus_one",
        """
%0 = input("x") : float32[2,3]
%1 = const(-1.0) : float32[]
%2 = mul(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = neg(%0) : float32[2,3]
return %1
""",
    ),
    (
        "constants_together",
        """
%0 = input("x") : float32[2,3]
%1 = const(3.0) : float32[]
%2 = mul(%0, %1) : float32[2,3]
%3 = const(0.5) : float32[]
%4 = mul(%3, %2) : float32[2,3]
return %4
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.5) : float32[]
%2 = mul(%0, %1) : float32[2,3]
return %2
""",
    ),
    (
        "add_zero",
        """
%0 = input("x") : float32[2,3]
%1 = const(-0.0) : float32[]
%2 = add(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "add_zero",
        """
%0 = input("x") : float32[2,3]
%1 = const(0.0) : float32[]
%2 = sub(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "add_zero",
        """
%0 = input("x") : float32[2,3]
%1 = const(0.0) : float32[]
%2 = exp(%0) : float32[2,3]
%3 = add(%1, %2) : float32[2,3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = exp(%0) : float32[2,3]
return %1
""",
    ),
    (
        "add_negated",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = neg(%0) : float32[2,3]
%3 = add(%2, %1) : float32[2,3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = sub(%1, %0) : float32[2,3]
return %2
""",
    ),
    (
        "sub_negated",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = neg(%1) : float32[2,3]
%3 = sub(%0, %2) : float32[2,3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = add(%0, %1) : float32[2,3]
return %2
""",
    ),
    (
        "double_negation",
        """
%0 = input("x") : float32[2,3]
%1 = neg(%0) : float32[2,3]
%2 = neg(%1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "double_negation",
        """
%0 = input("x") : int32[2,3]
%1 = input("y") : int32[2,3]
%2 = sub(%0, %1) : int32[2,3]
%3 = neg(%2) : int32[2,3]
return %3
""",
        """
%0 = input("x") : int32[2,3]
%1 = input("y") : int32[2,3]
%2 = sub(%1, %0) : int32[2,3]
return %2
""",
    ),
    (
        "div_by_constant",
        """
%0 = input("x") : float32[2,3]
%1 = const(-4.0) : float32[]
%2 = div(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(-0.25) : float32[]
%2 = mul(%0, %1) : float32[2,3]
return %2
""",
    ),
    (
        "div_by_constant",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.0) : float32[]
%2 = div(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
return %0
""",
    ),
    (
        "pow_small",
        """
%0 = input("x") : float32[2,3]
%1 = const(3.0) : float32[]
%2 = pow(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = mul(%0, %0) : float32[2,3]
%2 = mul(%1, %0) : float32[2,3]
return %2
""",
    ),
    (
        "pow_small",
        """
%0 = input("x") : float32[2,3]
%1 = const(-1.0) : float32[]
%2 = pow(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.0) : float32[]
%2 = broadcast_to(%1, shape=()) : float32[]
%3 = div(%2, %0) : float32[2,3]
return %3
""",
    ),
    (
        "pow_small",
        """
%0 = input("x") : float32[2,3]
%1 = const(0.0) : float32[]
%2 = pow(%0, %1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(1.0) : float32[]
%2 = broadcast_to(%1, shape=(2, 3)) : float32[2,3]
return %2
""",
    ),
    (
        "select_known",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
%2 = const(True) : bool[]
%3 = select(%2, %0, %1) : float32[2,3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : float32[2,3]
return %0
""",
    ),
    (
        "select_known",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : bool[2,3]
%2 = select(%1, %0, %0) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("y") : bool[2,3]
return %0
""",
    ),
    (
        "mask_before_pool_grad",
        """
%0 = input("x") : float32[1,4,2]
%1 = input("dy") : float32[1,2,2]
%2 = pool_max(%0, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,2,2]
%3 = pool_max_grad(%0, %2, %1, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,4,2]
%4 = const(0.0) : float32[]
%5 = gt(%0, %4) : bool[1,4,2]
%6 = select(%5, %3, %4) : float32[1,4,2]
return %6
""",
        """
%0 = input("x") : float32[1,4,2]
%1 = input("dy") : float32[1,2,2]
%2 = pool_max(%0, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,2,2]
%3 = const(0.0) : float32[]
%4 = gt(%2, %3) : bool[1,2,2]
%5 = select(%4, %1, %3) : float32[1,2,2]
%6 = pool_max_grad(%0, %2, %5, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,4,2]
return %6
""",
    ),
    (
        "sum_of_pool_grad",
        """
%0 = input("x") : float32[1,4,2]
%1 = input("dy") : float32[1,2,2]
%2 = pool_max(%0, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,2,2]
%3 = pool_max_grad(%0, %2, %1, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,4,2]
%4 = reduce_sum(%3, axes=(0, 1), keepdims=False) : float32[2]
return %4
""",
        """
%0 = input("x") : float32[1,4,2]
%1 = input("dy") : float32[1,2,2]
%2 = pool_max(%0, window=(2,), strides=(2,), padding=((0, 0),)) : float32[1,2,2]
%3 = const(0.0) : float32[]
%4 = eq(%2, %2) : bool[1,2,2]
%5 = select(%4, %1, %3) : float32[1,2,2]
%6 = reduce_sum(%5, axes=(0, 1), keepdims=False) : float32[2]
return %6
""",
    ),
    (
        "logic_known",
        """
%0 = input("x") : bool[2,3]
%1 = const(True) : bool[]
%2 = and(%0, %1) : bool[2,3]
return %2
""",
        """
%0 = input("x") : bool[2,3]
return %0
""",
    ),
    (
        "logic_known",
        """
%0 = input("x") : bool[2,3]
%1 = const(True) : bool[]
%2 = or(%0, %1) : bool[2,3]
return %2
""",
        """
%0 = input("x") : bool[2,3]
%1 = const(True) : bool[]
%2 = broadcast_to(%1, shape=(2, 3)) : bool[2,3]
return %2
""",
    ),
    (
        "factor_out_of_sum",
        """
%0 = input("x") : float32[2,3]
%1 = const(0.5) : float32[]
%2 = mul(%0, %1) : float32[2,3]
%3 = reduce_sum(%2, axes=(0,), keepdims=False) : float32[3]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = reduce_sum(%0, axes=(0,), keepdims=False) : float32[3]
%2 = const(0.5) : float32[]
%3 = reshape(%2, shape=(1,)) : float32[1]
%4 = mul(%1, %3) : float32[3]
return %4
""",
    ),
    (
        "factor_out_of_sum",
        """
%0 = input("x") : float32[2,3]
%1 = input("c") : float32[3]
%2 = mul(%0, %1) : float32[2,3]
%3 = reduce_sum(%2, axes=(0,), keepdims=False) : float32[3]  # norm [backward]
return %3
""",
        """
%0 = input("x") : float32[2,3]
%1 = input("c") : float32[3]
%2 = reduce_sum(%0, axes=(0,), keepdims=False) : float32[3]  # norm [backward]
%3 = reshape(%1, shape=(3,)) : float32[3]  # norm [backward]
%4 = mul(%2, %3) : float32[3]  # norm [backward]
return %4
""",
    ),
    (
        "log_of_softmax",
        """
%0 = input("x") : float32[2,3]
%1 = softmax(%0, axis=1) : float32[2,3]
%2 = log(%1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = log_softmax(%0, axis=1) : float32[2,3]
return %1
""",
    ),
    (
        "log_of_sigmoid",
        """
%0 = input("x") : float32[2,3]
%1 = sigmoid(%0) : float32[2,3]
%2 = log(%1) : float32[2,3]
return %2
""",
        """
%0 = input("x") : float32[2,3]
%1 = const(0.0) : float32[]
%2 = neg(%0) : float32[2,3]
%3 = softplus(%2) : float32[2,3]
%4 = sub(%1, %3) : float32[2,3]
return %4
""",
    ),
]
