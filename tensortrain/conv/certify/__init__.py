"""Certify what is known of a chain, so that a program of Python alone, `tensortrain_check`, can check it.

| module | what it does |
|---|---|
| `claims` | what is claimed, on which assumptions |
| `certificate` | claims in a file, with the digests of the files that they are about |
| `intervals` | an interval for the error, from float64 and bounds on its rounding |
| `lower_bounds` | lower bounds with proofs that exact arithmetic can check |
| `evaluations` | how far a computed evaluation is from the exact one |
| `probe` | whether convolutions sum plain products, here and in these shapes |
| `exact` | tensors as exact integers |
"""
