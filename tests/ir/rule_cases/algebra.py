"""Rules of `ir/passes/algebra.py`: rule, graph before, graph after."""

from __future__ import annotations

CASES: list[tuple[str, str, str]] = [
    (
        "first_extreme",
        """
%0 = input("x") : float32[2,3]
%1 = argmax(%0, axis=1) : int32[2]
return %1
""",
        """
%0 = input("x") : float32[2,3]
%1 = reduce_max(%0, axes=(1,), keepdims=True) : float32[2,1]
%2 = eq(%0, %1) : bool[2,3]
%3 = ne(%0, %0) : bool[2,3]
%4 = or(%2, %3) : bool[2,3]
%5 = iota(axis=1, dtype="int32", shape=(2, 3)) : int32[2,3]
%6 = const(3) : int32[]
%7 = select(%4, %5, %6) : int32[2,3]
%8 = reduce_min(%7, axes=(1,), keepdims=False) : int32[2]
return %8
""",
    ),
    (
        "first_extreme",
        """
%0 = input("x") : int32[2,3]
%1 = argmin(%0, axis=1) : int32[2]
return %1
""",
        """
%0 = input("x") : int32[2,3]
%1 = reduce_min(%0, axes=(1,), keepdims=True) : int32[2,1]
%2 = eq(%0, %1) : bool[2,3]
%3 = iota(axis=1, dtype="int32", shape=(2, 3)) : int32[2,3]
%4 = const(3) : int32[]
%5 = select(%2, %3, %4) : int32[2,3]
%6 = reduce_min(%5, axes=(1,), keepdims=False) : int32[2]
return %6
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
