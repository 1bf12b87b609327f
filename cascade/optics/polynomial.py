"""Polynomials in two variables that are even or odd in the second, as an optic with one plane of symmetry needs."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DEGREE = 7
"""Total degree; residuals from traced rays are below 0.02 px for every relevant pair."""

EVEN = tuple((i, j) for i in range(DEGREE + 1) for j in range(0, DEGREE + 1 - i, 2))
"""Exponents (i, j) of the terms x**i y**j that are even in y."""

ODD = tuple((i, j) for i in range(DEGREE + 1) for j in range(1, DEGREE + 1 - i, 2))
"""The same, odd in y."""


def powers_matrix(x: Floats, y: Floats, terms: tuple[tuple[int, int], ...]) -> Floats:
    """
    Values of the terms at N points.

    Returns
    -------
    ndarray of float64, shape (N, len(terms))
    """
    rows, columns = _exponents(terms)
    return np.asarray(_powers(x)[:, rows] * _powers(y)[:, columns], np.float64)


def _powers(values: Floats) -> Floats:
    """Powers 0 to DEGREE of N values, (N, DEGREE + 1)."""
    return np.asarray(np.vander(values, DEGREE + 1, increasing=True), np.float64)


@cache
def _exponents(terms: tuple[tuple[int, int], ...]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """The exponents of x and of y, as index arrays."""
    rows, columns = np.array(terms, np.intp).T
    return rows, columns


def coefficient_matrix(coefficients: Floats, terms: tuple[tuple[int, int], ...]) -> Floats:
    """Coefficients as a (DEGREE + 1, DEGREE + 1) matrix C: on a grid the values are Y @ C.T @ X.T."""
    matrix = np.zeros((DEGREE + 1, DEGREE + 1))
    matrix[_exponents(terms)] = coefficients
    return matrix


def chebyshev(n_nodes: int) -> Floats:
    """Chebyshev points of the first kind in (-1, 1), rising."""
    return -np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes)


def lagrange(nodes: Floats, at: Floats) -> Floats:
    """
    Matrix that interpolates values at the nodes by a polynomial.

    Barycentric form; see Berrut & Trefethen 2004, SIAM Review 46, 501.

    Returns
    -------
    ndarray of float64, shape (len(at), len(nodes))
    """
    differences = nodes[:, None] - nodes[None, :]
    np.fill_diagonal(differences, 1.0)
    weights = 1.0 / differences.prod(axis=1)
    distance = at[:, None] - nodes[None, :]
    hit = distance == 0
    terms = weights / np.where(hit, 1.0, distance)
    matrix = terms / terms.sum(axis=1, keepdims=True)
    exact = hit.any(axis=1)
    matrix[exact] = hit[exact]
    return np.asarray(matrix, np.float64)
