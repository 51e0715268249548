import dataclasses
from collections import Counter

import numpy as np
import pytest
import torch

from moga.contracts import Silent
from moga.errors import MogaError, UsageError
from moga.spaces.moga import MoGASpace
from moga.supernets import training
from moga.supernets.data import load_data
from moga.supernets.evaluators import SupernetEvaluator
from moga.supernets.statistics import paired_test
from moga.supernets.supernet import Supernet
from moga.supernets.training import CPU_DEMO, MOGA, Augmentation, Recipe, fair_paths, train

QUICK = Recipe(optimizer="sgd", rate=0.05, steps=2, batch=16, workers=2)


class Recorder(Silent):
    def __init__(self):
        self.phases, self.figures, self.notes = [], [], []

    def phase(self, name, total=None, unit=""):
        self.phases.append((name, total, unit))

    def advance(self, done, **values):
        self.figures.append((done, values))

    def note(self, text):
        self.notes.append(text)


def test_every_choice_is_in_exactly_one_path():
    paths = fair_paths(3, dict.fromkeys(range(3), 12), np.random.default_rng(0))
    assert paths.shape == (12, 3)
    assert all(sorted(column) == list(range(12)) for column in paths.T)
    assert not np.array_equal(paths[:, 0], paths[:, 1])


def test_genes_with_fewer_choices_use_them_equally_often():
    paths = fair_paths(4, {0: 6, 2: 3, 3: 4}, np.random.default_rng(0))
    assert Counter(paths[:, 2].tolist()) == {0: 2, 1: 2, 2: 2}
    assert sorted(Counter(paths[:, 3].tolist()).values()) == [1, 1, 2, 2]
    assert not paths[:, 1].any()


@pytest.mark.parametrize(
    ("sharing", "workers"), [("entangled", 2), ("entangled", 5), ("separate", 1)]
)
def test_strict_fairness_each_choice_trains_once_a_step(
    space, images, monkeypatch, sharing, workers
):
    seen = Counter()
    original = Supernet.path

    def counting(self, x, genome):
        seen.update(enumerate(int(gene) for gene in genome))
        seen["paths"] += 1
        return original(self, x, genome)

    monkeypatch.setattr(Supernet, "path", counting)
    recipe = dataclasses.replace(QUICK, workers=workers, steps=3)
    train(Supernet(space, sharing), images, recipe)
    assert seen.pop("paths") == 3 * 4
    assert set(seen) == {(layer, choice) for layer in range(3) for choice in range(4)}
    assert set(seen.values()) == {3}


def test_a_step_sums_the_gradients_of_all_paths(space, images):
    # One step of plain SGD moves the weights by rate x the sum of the paths' own gradients.
    recipe = Recipe(optimizer="sgd", rate=0.1, momentum=0.0, steps=1, batch=16, workers=2)
    before, after = Supernet(space), Supernet(space)
    train(after, images, recipe, seed=4)
    order, paths, noise = (np.random.default_rng([4, stream]) for stream in range(3))
    x, y = next(training._minibatches(images.train, recipe, 1, order, noise))
    before.train()
    for genome in fair_paths(3, before.choices(), paths):
        torch.nn.functional.cross_entropy(before(x, genome), y).backward()
    for name, parameter in before.named_parameters():
        moved = parameter if parameter.grad is None else parameter - 0.1 * parameter.grad
        expected = dict(after.named_parameters())[name]
        torch.testing.assert_close(expected, moved, atol=1e-4, rtol=1e-3)


def test_the_seed_decides_everything(space, images):
    runs = []
    for seed in (1, 1, 2):
        supernet = Supernet(space)
        train(supernet, images, CPU_DEMO_QUICK, seed=seed)
        runs.append([p.detach().clone() for p in supernet.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(runs[0], runs[1], strict=True))
    assert not all(torch.equal(a, c) for a, c in zip(runs[0], runs[2], strict=True))


CPU_DEMO_QUICK = dataclasses.replace(CPU_DEMO, steps=2, batch=16)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_it_learns_and_reports(space, images, optimizer):
    rate = {"sgd": 0.2, "adamw": 5e-3}[optimizer]
    recipe = Recipe(optimizer=optimizer, rate=rate, steps=12, batch=48, gradient="mean")
    recorder = Recorder()
    result = train(Supernet(space), images, recipe, progress=recorder)
    assert recorder.phases == [("train the supernet", 12, "steps")]
    assert [done for done, _ in recorder.figures] == list(range(1, 13))
    first, last = recorder.figures[0][1], recorder.figures[-1][1]
    assert last["loss"] < first["loss"]
    assert result.accuracy > 60
    assert result.steps == 12
    assert result.seconds > 0


def test_training_leaves_threads_as_they_were(space, images):
    before = torch.get_num_threads()
    train(Supernet(space), images, QUICK)
    assert torch.get_num_threads() == before


def test_the_presets_say_what_the_paper_says():
    assert (MOGA.optimizer, MOGA.rate, MOGA.momentum, MOGA.epochs) == ("sgd", 0.05, 0.9, 32)
    assert MOGA.gradient == "sum"
    assert MOGA.total_steps(960) == 320
    assert CPU_DEMO.total_steps(10) == CPU_DEMO.total_steps(10**6) == CPU_DEMO.steps


def test_the_schedule_rises_then_falls_to_zero_as_a_cosine():
    rates = [training._schedule(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == pytest.approx([(i + 1) / 11 for i in range(10)])
    assert rates[10] == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == pytest.approx(0)


def test_every_image_comes_once_an_epoch(images):
    order, noise = np.random.default_rng(0), np.random.default_rng(1)
    plain = dataclasses.replace(QUICK, augmentation=Augmentation(flip=False))
    batches = list(training._minibatches(images.train, plain, 3, order, noise))
    means = torch.cat([x.mean((1, 2, 3)) for x, _ in batches])
    assert len(torch.unique(means)) == 48


def test_augmentation_without_changes_changes_nothing(images):
    x = training.pixels(images.train.images)
    same = training._augment(x, Augmentation(flip=False), np.random.default_rng(0))
    torch.testing.assert_close(same, x, atol=1e-4, rtol=1e-4)
    mirrored = training._augment(x, Augmentation(), np.random.default_rng(0))
    kept = [torch.allclose(a, b, atol=1e-3) for a, b in zip(mirrored, x, strict=True)]
    turned = [torch.allclose(a, b.flip(-1), atol=1e-3) for a, b in zip(mirrored, x, strict=True)]
    assert 10 < sum(kept) < 38
    assert sum(kept) + sum(turned) == 48


def test_a_recipe_refuses_what_cannot_work():
    with pytest.raises(UsageError, match="has either epochs or steps; give one of them"):
        Recipe(optimizer="sgd", rate=0.1)
    with pytest.raises(UsageError, match="rate of the recipe is 0; give more than 0"):
        Recipe(optimizer="sgd", rate=0, steps=1)
    with pytest.raises(UsageError, match="optimizer of the recipe is 'lamb'; give one of sgd, ad"):
        Recipe(optimizer="lamb", rate=0.1, steps=1)


def test_images_that_do_not_fit_the_space(images):
    supernet = Supernet(MoGASpace(resolution=32, width=0.1, num_classes=10))
    with pytest.raises(UsageError, match=r"build the space with resolution=16, num_classes=3"):
        train(supernet, images, QUICK)


@pytest.mark.parametrize(("seconds", "said"), [(0.0, 1), (600.0, 0)])
def test_a_long_training_is_told_at_once(space, images, monkeypatch, seconds, said):
    monkeypatch.setattr(training, "_LONG", seconds)
    recorder = Recorder()
    train(Supernet(space), images, dataclasses.replace(QUICK, steps=4), progress=recorder)
    assert len(recorder.notes) == said
    assert all('--space "moga(resolution=32, width=0.35)"' in note for note in recorder.notes)


def test_a_loss_that_is_no_number_stops_the_training(space, images):
    recipe = Recipe(optimizer="sgd", rate=1e18, steps=20, batch=16)
    with pytest.raises(MogaError, match=r"the loss is .* steps; lower the recipe's rate"):
        train(Supernet(space), images, recipe)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demonstration_reaches_five_times_chance_and_its_paths_differ():
    images = load_data()
    space = MoGASpace(resolution=32, width=0.35, num_classes=10)
    supernet = Supernet(space)
    train(supernet, images, CPU_DEMO)
    evaluator = SupernetEvaluator.of(supernet, images)
    genomes = np.random.default_rng(1).integers(0, 12, (50, 14))
    correct = np.array([evaluator.correct(space.decode(genome)) for genome in genomes])
    assert correct.mean() >= 0.5
    assert paired_test(correct) < 1e-3
