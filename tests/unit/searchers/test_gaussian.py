import numpy as np
import pytest
from scipy.optimize import check_grad

from moga.contracts import Gene
from moga.searchers.gaussian import Encoding, GaussianProcess, Hypers, _loss

GENES = (
    Gene("operation", "a", "categorical", ("x", "y", "z")),
    Gene("depth", "a", "ordinal", (1, 2, 3, 4, 5)),
    Gene("width", "b", "ordinal", (8, 16)),
)


@pytest.fixture
def encoding() -> Encoding:
    return Encoding(GENES, np.exp(np.random.default_rng(0).normal(size=(64, 1))))


@pytest.fixture
def data(encoding: Encoding):
    rng = np.random.default_rng(1)
    genomes = np.unique(rng.integers(0, [3, 5, 2], (40, 3)), axis=0)
    points = encoding(genomes, rng.random((len(genomes), 1)))
    return genomes, points, genomes[:, 1] * 2.0 + (genomes[:, 0] == 1)


def test_distances_are_hamming_and_shares_of_the_range(encoding: Encoding) -> None:
    genomes = np.array([[0, 0, 0], [2, 3, 1]])
    distances = encoding(genomes, np.ones((2, 1))).distances()
    assert distances[:, 0, 1] == pytest.approx([1.0, 0.75, 1.0, 0.0])
    assert distances[:, 0, 0] == pytest.approx(np.zeros(4))


def test_kernel_is_the_exponential_of_weighted_distances(encoding: Encoding, data) -> None:
    _, points, _ = data
    hypers = Hypers(np.log([0.3, 0.7, 1.1, 0.2]), amplitude=0.4)
    total = np.tensordot(np.exp(hypers.weights), points.distances(), axes=1)
    assert points.kernel(points, hypers) == pytest.approx(np.exp(0.4 - total))


def test_gradient_of_the_loss(data) -> None:
    _, points, target = data
    distances, scaled = points.distances(), (target - target.mean()) / target.std()
    at = Hypers.start(4).flat() + 0.2

    def value(flat: np.ndarray) -> float:
        return _loss(flat, distances, scaled)[0]

    assert check_grad(value, lambda flat: _loss(flat, distances, scaled)[1], at) < 1e-4


def test_fit_raises_the_posterior_and_finds_what_does_not_matter(data) -> None:
    _, points, target = data
    scaled = (target - target.mean()) / target.std()
    start = Hypers.start(4)
    fitted = GaussianProcess.fit(points, target, start)
    before, after = (_loss(h.flat(), points.distances(), scaled)[0] for h in (start, fitted))
    assert after < before - 1
    assert fitted.weights[1] > fitted.weights[2] + 1  # width plays no part


def test_prediction_interpolates_and_knows_where_it_does_not_know(data) -> None:
    _, points, target = data
    process = GaussianProcess(points, target, Hypers(np.zeros(4), noise=-9.0))
    here = process.predict(points)
    assert here.mean == pytest.approx(target, abs=0.01)
    assert here.deviation.max() < 0.1
    without = GaussianProcess(points.taken(slice(1, None)), target[1:], Hypers(np.zeros(4)))
    assert without.predict(points).deviation[0] > 5 * here.deviation[0]


def test_believing_is_conditioning_on_the_mean(data) -> None:
    _, points, target = data
    hypers = Hypers(np.zeros(4))
    process = GaussianProcess(points.taken(slice(5, None)), target[5:], hypers)
    prediction = process.predict(points)
    mean = prediction.mean.copy()
    prediction.believe(2)
    joined = points.taken(slice(5, None)).joined(points.taken(slice(2, 3)))
    again = GaussianProcess(joined, np.append(target[5:], mean[2]), hypers)
    # the second process standardises by other numbers; its variances are in units of its own
    expected = again.predict(points).variance
    assert prediction.variance == pytest.approx(expected, abs=1e-9)
    assert (prediction.mean == mean).all()
