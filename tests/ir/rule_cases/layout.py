"""Rules of `ir/passes/layout.py`: rule, graph before, graph after."""

from __future__ import annotations

CASES: list[tuple[str, str, str]] = [
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
]
