"""Rank correlation against scikit-learn's dependency scipy, and its permutation test."""

import numpy as np
import pytest
from scipy.stats import spearmanr

from fae.probes.ranks import rank_correlation


def test_the_correlation_is_spearmans_with_equal_values():
    random = np.random.default_rng(0)
    x = random.integers(0, 6, 12).astype(float)
    y = x + random.normal(0, 2, 12).round()
    expected = spearmanr(x, y)
    found = rank_correlation(x, y)
    assert found.value == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue, abs=0.03)


def test_a_constant_has_no_order_and_nan_is_refused():
    assert rank_correlation(np.ones(5), np.arange(5.0)).value == 0
    with pytest.raises(ValueError, match="expected two series of 3 or more numbers"):
        rank_correlation(np.array([1.0, np.nan, 2.0]), np.arange(3.0))
