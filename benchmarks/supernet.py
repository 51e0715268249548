"""Train the demonstration's supernet, and judge random paths on people that it has not seen.

    python benchmarks/supernet.py [--quick] [--json]

Goals: random paths reach five times chance on average, after at most 4 minutes of training on 2
cores; 50 of them differ by more than sampling of the same images explains (Cochran's Q). With
``--quick``, a training of 60 steps that need only beat one and a half times chance.
"""

import dataclasses
import time

import numpy as np
from common import Goal, finish, options

from moga.spaces.base import sample_uniform
from moga.spaces.moga import MoGASpace
from moga.supernets.cache import trained_supernet
from moga.supernets.data import load_data
from moga.supernets.evaluators import SupernetEvaluator
from moga.supernets.statistics import paired_test
from moga.supernets.training import CPU_DEMO


def main() -> None:
    """Train without the cache, evaluate 50 random paths, print."""
    asked = options(__doc__ or "")
    images = load_data()
    space = MoGASpace(resolution=images.resolution, num_classes=images.num_classes)
    recipe = dataclasses.replace(CPU_DEMO, steps=60, epochs=None) if asked.quick else CPU_DEMO
    supernet, training = trained_supernet(space, images, recipe, cache=False)
    evaluator = SupernetEvaluator.of(supernet, images)
    genomes = sample_uniform(space.sizes, 10 if asked.quick else 50, np.random.default_rng(1))
    began = time.perf_counter()
    correct = np.array([evaluator.correct(space.decode(genome)) for genome in genomes])
    seconds = (time.perf_counter() - began) / len(genomes)
    accuracies = 100 * correct.mean(axis=1)
    chance = 100 / images.num_classes
    figures = {
        "training steps": training.steps,
        "training seconds": training.seconds,
        "training processor seconds": training.cpu_seconds,
        "validation images": correct.shape[1],
        "mean accuracy of random paths, %": float(accuracies.mean()),
        "lowest, %": float(accuracies.min()),
        "highest, %": float(accuracies.max()),
        "p that all paths are alike": paired_test(correct),
        "seconds an evaluation, one core": seconds,
    }
    times = float(accuracies.mean() / chance)
    if asked.quick:
        goals = [Goal("quick-random-paths-times-chance", times, ">=", 1.5)]
    else:
        goals = [
            Goal("random-paths-times-chance", times, ">=", 5),
            Goal("training-seconds", training.seconds, "<=", 240),
            Goal("paths-differ-p", paired_test(correct), "<", 0.001),
        ]
    finish(figures, goals, asked)


if __name__ == "__main__":
    main()
