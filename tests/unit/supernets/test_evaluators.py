import math
import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch

from moga.contracts import Evaluator, Failed, Measured
from moga.errors import FormatError, NotInSpace, UsageError
from moga.networks.build import build_network, load_weights
from moga.supernets.evaluators import SupernetEvaluator
from moga.supernets.supernet import Supernet
from moga.supernets.torchtools import pixels
from moga.supernets.training import Recipe, train


@pytest.fixture(scope="module")
def supernet(space, images):
    supernet = Supernet(space)
    recipe = Recipe(optimizer="sgd", rate=0.1, steps=6, batch=24, gradient="mean")
    train(supernet, images, recipe)
    return supernet


@pytest.fixture(scope="module")
def evaluator(supernet, images):
    return SupernetEvaluator.of(supernet, images)


@pytest.fixture(scope="module")
def networks(space):
    return [space.decode(g) for g in np.random.default_rng(3).integers(0, 4, (5, 3))]


def test_it_is_an_evaluator_of_accuracy(evaluator):
    assert isinstance(evaluator, Evaluator)
    assert evaluator.metrics == ("accuracy",)


def test_accuracy_is_the_share_of_right_answers_with_its_standard_error(evaluator, networks):
    outcome = evaluator.evaluate(networks[:1])[0]
    correct = evaluator.correct(networks[0])
    share = correct.mean()
    assert correct.shape == (40,)
    assert outcome.values == {"accuracy": pytest.approx(100 * share)}
    expected = 100 * math.sqrt(share * (1 - share) / 40)
    assert outcome.spread == {"accuracy": pytest.approx(expected)}


def test_the_batch_does_not_matter(evaluator, networks):
    together = evaluator.evaluate(networks)
    assert all(isinstance(outcome, Measured) for outcome in together)
    assert evaluator.evaluate(networks[::-1])[::-1] == together
    assert [evaluator.evaluate([network])[0] for network in networks] == together


def test_a_copy_by_pickle_gives_the_same_and_carries_no_module(evaluator, networks):
    expected = evaluator.evaluate(networks)
    data = pickle.dumps(evaluator)
    assert b"torch" not in data
    assert pickle.loads(data).evaluate(networks) == expected


def test_arrays_that_cannot_be_written_do(evaluator, networks):
    # As Ray hands them out of its object store.
    copy = pickle.loads(pickle.dumps(evaluator))
    for array in (*copy.weights.values(), copy.images.validation.labels):
        array.setflags(write=False)
    for subset in (copy.images.calibration, copy.images.validation):
        subset.images.setflags(write=False)
    assert copy.evaluate(networks) == evaluator.evaluate(networks)


def test_evaluation_leaves_threads_and_the_supernet_alone(evaluator, supernet, networks):
    threads = torch.get_num_threads()
    before = [p.detach().clone() for p in supernet.parameters()]
    evaluator.evaluate(networks[:1])
    assert torch.get_num_threads() == threads
    assert all(torch.equal(a, b) for a, b in zip(before, supernet.parameters(), strict=True))


def test_accuracy_is_that_of_the_extracted_network(evaluator, images, networks):
    module = evaluator.extract(networks[0])
    with torch.no_grad():
        guesses = module(pixels(images.validation.images)).argmax(1).numpy()
    agreement = (guesses == images.validation.labels) == evaluator.correct(networks[0])
    assert agreement.mean() >= 39 / 40


def test_inherited_weights_load_into_the_network(evaluator, images, networks, tmp_path):
    path = tmp_path / "A.safetensors"
    evaluator.inherit(networks[1], path)
    module = build_network(networks[1]).eval()
    load_weights(module, path)
    x = pixels(images.validation.images)
    with torch.no_grad():
        torch.testing.assert_close(module(x), evaluator.extract(networks[1])(x))
    with pytest.raises(FormatError, match="does not hold this network's weights"):
        load_weights(build_network(networks[0]), path)


def test_a_network_outside_the_space_fails_alone(evaluator, networks, wider):
    other = wider.decode([0] * 3)
    outcomes = evaluator.evaluate([networks[0], other])
    assert isinstance(outcomes[0], Measured)
    assert isinstance(outcomes[1], Failed)
    assert "does not fit" in outcomes[1].reason
    assert outcomes[1].kind == "error"
    for method in (evaluator.correct, evaluator.extract):
        with pytest.raises(NotInSpace, match="does not fit"):
            method(other)


def test_weights_of_another_supernet(evaluator, space, images, networks):
    wrong = SupernetEvaluator(space, evaluator.weights, images, "separate")
    with pytest.raises(UsageError, match="these weights are of another supernet"):
        wrong.evaluate(networks)


def test_large_validation_sets_pass_in_chunks(evaluator, networks, monkeypatch):
    expected = evaluator.correct(networks[2])
    monkeypatch.setattr("moga.supernets.evaluators._CHUNK_PIXELS", 7 * 16 * 16)
    assert (evaluator.correct(networks[2]) == expected).mean() >= 39 / 40


def test_supernets_need_neither_ray_nor_pandas_nor_pymoo():
    code = (
        "import sys; sys.modules.update(dict.fromkeys(('ray', 'pandas', 'pymoo', 'moocore')))\n"
        "import moga.supernets.cache, moga.supernets.evaluators\n"
        "from moga.supernets.data import load_data; load_data()"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
