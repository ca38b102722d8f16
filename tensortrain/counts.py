"""Texts of integers, which may be larger than every floating-point number and have more digits than Python prints."""

import math
import numbers

_SHOWN = 10**40  # of larger numbers nobody reads all digits


def count(n: int) -> str:
    """Return a non-negative integer as text with thousands separators, or with three digits if it is very large.

    >>> count(1234), count(4**600)
    ('1,234', '≈1.72e+361')
    """
    return f"{n:,}" if n < _SHOWN else _large(n)


def shown(value: object) -> str:
    """Return the text of an argument in a message: its `repr`, but three digits of a very large integer.

    >>> shown("a"), shown(0.5), shown(1234), shown(-(10**5000))
    ("'a'", '0.5', '1234', '≈-1e+5000')
    """
    if not isinstance(value, numbers.Integral) or isinstance(value, bool):
        return repr(value)
    return str(value) if abs(int(value)) < _SHOWN else _large(int(value))


def _large(n: int) -> str:
    """Return the sign, three digits and the power of ten of an integer other than 0."""
    power = math.log10(abs(n))
    mantissa, carry = f"{10 ** (power % 1):.2e}".split("e")  # 9.999 is rounded to 1.00e+01
    return f"≈{'-' if n < 0 else ''}{float(mantissa):g}e+{math.floor(power) + int(carry)}"


def factor(a: int, b: int) -> str:
    """Return the text of a / b with one decimal, or from a million on with three digits and a power of ten.

    >>> factor(7, 2), factor(10**20, 40), factor(4**600, 600)
    ('3.5', '2.5e+18', '≈2.87e+358')
    """
    if a >= _SHOWN * b:
        return count(a // b)
    value = a / b
    return f"{value:.1f}" if value < 1e6 else f"{value:.3g}"
