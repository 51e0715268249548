import numpy as np
import pytest

from moga import registry
from moga.contracts import Gene, Problem, parse_objective
from moga.errors import FormatError
from moga.searchers.superblocks import Moments, super_blocks

GENES = (
    Gene("resolution", "resolution", "ordinal", (192, 224, 256)),
    Gene("a.block", "a", "categorical", ("xx", "bl", "dw")),
    Gene("a.width", "a", "ordinal", (32, 64, 128)),
    Gene("a.depth", "a", "ordinal", (1, 2, 3, 4)),
    Gene("b.choice", "b", "categorical", tuple(range(12)), (2, 3, 2)),
)
REFERENCE = (1, 0, 1, 1, 5)


def problem(genes=GENES, reference=REFERENCE) -> Problem:
    goals = (parse_objective("accuracy"), parse_objective("latency"))
    return Problem(genes, reference, goals, lambda g: g, lambda g: np.full((len(g), 2), np.nan))


def test_features_of_the_ridge() -> None:
    _, a, b = super_blocks(problem(), "ridge", 4096)
    # slopes in spans of the gene from the reference, then one column a type
    expected = [[(128 - 64) / 96, (1 - 2) / 3, 0, 0, 1], [0, 0, 1, 0, 0]]
    assert a.encode(np.array([[2, 2, 0], [0, 1, 1]])) == pytest.approx(np.array(expected))
    # 7 = (1, 0, 1): one column a value of each factor, then one a type
    row = b.encode(np.array([[7]]))[0]
    assert row[:7].tolist() == [0, 1, 1, 0, 0, 0, 1]
    assert np.flatnonzero(row[7:]).tolist() == [7]


def test_features_of_the_paper() -> None:
    _, a, b = super_blocks(problem(), "paper", 4096)
    assert b.width == 0
    row = a.encode(np.array([[2, 2, 0]]))[0]
    assert row == pytest.approx([0, 0, 0, 0, (128 - 64) / 96, (1 - 2) / 3])


def test_values_that_are_no_numbers_are_counted() -> None:
    genes = (Gene("g", "g", "ordinal", ("small", "middle", "large")),)
    (block,) = super_blocks(problem(genes, (1,)), "ridge", 10)
    assert block.encode(np.array([[0], [1], [2]]))[:, 0].tolist() == [-0.5, 0, 0.5]


def test_many_choices_are_thinned_evenly_and_keep_the_reference() -> None:
    genes = tuple(Gene(f"g{i}", "all", "ordinal", tuple(range(10))) for i in range(5))
    (block,) = super_blocks(problem(genes, (3,) * 5), "ridge", 1000)
    assert 1000 <= len(block.choices) <= 1001
    assert (block.choices == 3).all(axis=1).any()
    for column in block.choices.T:
        assert np.bincount(column, minlength=10) == pytest.approx(100, rel=0.15)


def test_variants_differ_from_the_reference_and_each_other() -> None:
    _, a, _ = super_blocks(problem(), "ridge", 4096)
    drawn = a.variants(9, np.random.default_rng(0))
    assert len(np.unique(drawn, axis=0)) == 9
    assert (drawn != REFERENCE[1:4]).any(axis=1).all()
    assert len(a.variants(99, np.random.default_rng(0))) == 35


@pytest.mark.parametrize("space", ["genet(types=all)", "gpunet", "efficientnet_x", "moga", "fbnet"])
def test_every_space_has_super_blocks(space: str) -> None:
    built = registry.create("space", space)
    blocks = super_blocks(problem(built.genes, built.reference), "ridge", 512)
    assert sorted(i for block in blocks for i in block.positions) == list(range(len(built.genes)))
    for block in blocks:
        assert np.linalg.matrix_rank(block.features) > 0
        assert np.isfinite(block.features).all()


def planted(n: int, noise: float, seed: int = 0, features: int = 6):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, features))
    w = np.array([3.0, -2, 0, 0, 1, 0.5][:features])
    return x, w, 7 + x @ w + noise * rng.normal(size=n)


@pytest.mark.parametrize("grouping", [1, 7, 60])
def test_ridge_recovers_a_planted_model_however_it_is_told(grouping: int) -> None:
    x, w, y = planted(60, 0.01)
    moments = Moments(6, 1)
    for start in range(0, 60, grouping):
        moments.add(x[start : start + grouping], y[start : start + grouping, None])
    fit = moments.ridge(0)
    assert fit.mean == pytest.approx(w, abs=0.01)
    assert fit.noise == pytest.approx(0.01, rel=0.3)
    mean, error = fit.predict(np.zeros((1, 6)))
    assert mean == pytest.approx([7], abs=0.01)
    assert 0 < error[0] < 0.01


def test_ridge_shrinks_where_there_is_only_noise() -> None:
    x, _, _ = planted(12, 0)
    y = np.random.default_rng(1).normal(size=12)
    moments = Moments(6, 1)
    moments.add(x, y[:, None])
    free = np.linalg.lstsq(x - x.mean(axis=0), y - y.mean(), rcond=None)[0]
    assert np.linalg.norm(moments.ridge(0).mean) < 0.5 * np.linalg.norm(free)


def test_intervals_of_the_ridge_hold_the_truth() -> None:
    held = []
    for seed in range(60):
        x, w, y = planted(15, 1.0, seed)
        moments = Moments(6, 1)
        moments.add(x, y[:, None])
        points = np.random.default_rng(1000 + seed).normal(size=(10, 6))
        mean, error = moments.ridge(0).predict(points)
        held.append(np.abs(mean - 7 - points @ w) <= 1.96 * error)
    assert 0.85 <= np.mean(held) <= 0.99


def test_draws_have_the_posterior_s_mean_and_covariance() -> None:
    x, _, y = planted(15, 1.0)
    moments = Moments(6, 1)
    moments.add(x, y[:, None])
    fit = moments.ridge(0)
    rng = np.random.default_rng(0)
    draws = np.array([fit.draw(rng) for _ in range(4000)])
    covariance = fit.root @ fit.root.T
    assert draws.mean(axis=0) == pytest.approx(fit.mean, abs=0.05)
    assert np.cov(draws.T) == pytest.approx(covariance, abs=0.1 * covariance.max())


@pytest.mark.parametrize("fit", ["ridge", "least_squares"])
def test_draws_are_the_same_whichever_eigenvectors_a_processor_finds(fit, monkeypatch) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=40)
    moments = Moments(5, 1)
    moments.add(x, y[:, None])
    arguments = (0,) if fit == "ridge" else (0, 0.1)
    own = getattr(moments, fit)(*arguments)
    eigh = np.linalg.eigh

    def turned(matrix):
        values, vectors = eigh(matrix)
        return values, vectors * [1, -1, -1, 1, -1]

    monkeypatch.setattr(np.linalg, "eigh", turned)
    other = getattr(moments, fit)(*arguments)
    drawn = [one.draw(np.random.default_rng(0)) for one in (own, other)]
    np.testing.assert_allclose(drawn[0], drawn[1], rtol=1e-12)


def test_least_squares_are_numpy_s_around_the_anchor() -> None:
    x, _, y = planted(20, 0.1)
    moments = Moments(6, 1)
    moments.add(x, y[:, None])
    fit = moments.least_squares(0, 7.0)
    expected, residual, _, _ = np.linalg.lstsq(x, y - 7, rcond=None)
    assert fit.mean == pytest.approx(expected)
    assert fit.noise == pytest.approx(np.sqrt(residual[0] / 14))
    covariance = fit.noise**2 * np.linalg.inv(x.T @ x)
    assert fit.root @ fit.root.T == pytest.approx(covariance)
    assert fit.predict(np.zeros((1, 6)))[0].tolist() == [7]


def test_least_squares_leave_what_was_not_explored_at_0() -> None:
    x, _, y = planted(4, 0.0)
    x[:, 3:] = 0
    moments = Moments(6, 1)
    moments.add(x, y[:, None])
    assert moments.least_squares(0, 7.0).mean[3:] == pytest.approx(0)
    moments = Moments(6, 1)
    moments.add(x[:2], y[:2, None])
    assert np.isnan(moments.least_squares(0, 7.0).noise)


def test_unknown_costs_are_left_out_of_their_column_alone() -> None:
    x, w, y = planted(30, 0.01)
    both = np.stack([y, np.where(np.arange(30) < 5, np.nan, -y)], axis=1)
    moments = Moments(6, 2)
    moments.add(x, both)
    assert moments.n.tolist() == [30, 25]
    assert moments.ridge(1).mean == pytest.approx(-w, abs=0.01)


def test_state_of_other_features_is_refused() -> None:
    with pytest.raises(FormatError, match=r"a regression of shape \(1, 6, 6\) was expected"):
        Moments(6, 1).load_state_dict(Moments(5, 1).state_dict())
