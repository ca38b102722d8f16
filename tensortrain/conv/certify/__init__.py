"""Certify the error of a chain in a form that `tensortrain_check`, a program of pure Python, can check.

| module | content |
|---|---|
| `claims` | the claims and their assumptions |
| `certificate` | a file with the claims and the digests of the certified files |
| `intervals` | an interval for the error, from float64 and bounds on its rounding |
| `lower_bounds` | lower bounds with proofs that exact arithmetic can check |
| `evaluations` | the distance of a computed evaluation from the exact one |
| `probe` | a test whether convolutions of given shapes sum plain products on this machine |
| `exact` | tensors as exact integers |
"""
