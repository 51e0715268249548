"""Search NAS-Bench-201's table for a Pixel 3: seconds, no training.

python examples/nasbench201_search.py [evaluations]
"""

import sys

from moga import Search


def main(evaluations: int = 400) -> None:
    """Search, then choose from the front in three ways."""
    search = Search(
        "nasbench201",
        "pixel3",
        ["accuracy>=50", "latency"],
        evaluations=evaluations,
        executor="local",
    )
    result = search.run()
    print(result)
    print(result.front[["accuracy", "latency_ms", "params"]].to_string(index=False))
    print("best within 10 ms:", result.best(latency_ms=10)["accuracy"], "%")
    print("a family of three:", result.choose(3)["latency_ms"].tolist(), "ms")
    print("report:", result.run_dir / "report.html")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
