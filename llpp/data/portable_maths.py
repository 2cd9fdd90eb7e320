"""Sine, cosine and exponential by sums and products alone, which every device and library rounds alike.

Libraries' own functions differ in the last bit between devices, and powers even between places of one array on a CPU.
Then a crop would depend on where its matrix is computed, and on its place in a batch.
"""

import math

import torch
from torch import Tensor

DEGREE = 1 / 360  # of a turn; a factor, because GPUs divide by a number by multiplying with its reciprocal
HALVINGS = 2  # of an angle of half a turn at most, until the series is short
SQUARINGS = 6  # the same of an exponent
SINE = tuple((-1) ** n / math.factorial(2 * n + 1) for n in range(8))
EXPONENTIAL = tuple(1 / math.factorial(n) for n in range(9))


def compute_sine_and_cosine(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Of float64 angles; correct to 1e-12."""
    within_half_turn = degrees - (degrees * DEGREE).round() * 360.0
    angle = within_half_turn * (math.pi / 180.0 / 2**HALVINGS)
    both = torch.stack([angle, angle * 0.5])
    sine, half_sine = (both * _sum_series(both * both, SINE)).unbind()
    cosine = 1.0 - half_sine * half_sine * 2.0
    for _ in range(HALVINGS):
        sine, cosine = sine * cosine * 2.0, 1.0 - sine * sine * 2.0
    return sine, cosine


def compute_exponential(values: Tensor) -> Tensor:
    """Of float64 values; for those between -5 and 5, correct to 1e-12 of the result."""
    power = _sum_series(values * 2.0**-SQUARINGS, EXPONENTIAL)
    for _ in range(SQUARINGS):
        power = power * power
    return power


def _sum_series(values: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """The polynomial with these coefficients, that of the constant term first."""
    total = torch.full_like(values, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * values + coefficient
    return total
