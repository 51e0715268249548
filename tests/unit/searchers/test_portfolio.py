import time
from pathlib import Path

import numpy as np
import pytest

from moga import registry
from moga.contracts import Observations
from moga.errors import FormatError, InvalidGenome, SearcherFailed, UnknownName, UsageError
from moga.search import Search
from moga.searchers import LocalSearch, Portfolio, RandomSearch
from moga.testing.searchers import make_problem, true_costs

PROBLEM = make_problem((6,) * 8)


def portfolio(*searchers, seed: int = 0, **options) -> Portfolio:
    rng = np.random.default_rng(seed)
    return Portfolio(PROBLEM, rng, searchers=searchers or ("random", "local"), **options)


def told(genomes) -> Observations:
    return Observations.exact(genomes, true_costs(genomes))


class Worst(RandomSearch):
    """Proposes the most expensive genomes that do nothing."""

    def _ask(self, n, attempt):
        genomes = super()._ask(n, attempt)
        genomes[:, 1:] = 0
        return genomes


def asked_of(search: Portfolio, n: int) -> list[int]:
    """Ask for n, tell what they cost; return which member gave each."""
    genomes = search.ask(n)
    owners = [search.owners[key] for key in search._keys(genomes)]
    search.tell(told(genomes))
    return owners


def test_asks_go_to_whoever_gains() -> None:
    search = portfolio(Worst, LocalSearch)
    owners = [owner for _ in range(80) for owner in asked_of(search, 4)]
    assert owners.count(1) > 3 * owners.count(0) > 0
    assert search.rates().sum() == pytest.approx(1)


@pytest.mark.parametrize(("other", "first"), [(0.1, 0), (0.19, 0), (0.3, 1), (1.0, 1)])
def test_the_first_is_asked_unless_another_gains_more_than_twice_as_much(
    other: float, first: int
) -> None:
    search = portfolio("random", "local")
    for gains, value in zip(search.gains, (0.1, other), strict=True):
        gains.extend([value] * 16)
    ordered = [search._order(4)[0] for _ in range(200)]
    assert np.mean(np.array(ordered) == first) >= 0.9  # one ask in ten goes to whoever waits


def test_few_results_count_little_and_early_ones_no_more_than_late_ones() -> None:
    search = portfolio("random", "local")
    for added in (8.0, 4.0, 2.0, 1.0):  # what random genomes add becomes less and less
        search._credit(0, added)
    assert search.gains[0][0] == 1
    assert search.gains[0][3] == pytest.approx(1 / (15 / 4))
    assert search.rates() == pytest.approx(0.5)  # the other, with no results, is as good
    search._credit(1, 3.0)
    assert 0.5 < search.rates()[1] < 0.6


def test_one_ask_in_ten_goes_to_the_one_that_was_asked_the_longest_ago() -> None:
    search = portfolio("random", "random", "random")
    asked = []
    for _ in range(60):
        genomes = search.ask(1)
        asked += [search.owners[key] for key in search._keys(genomes)]
        search.tell(Observations.exact(genomes, np.ones((1, 2))))  # nobody gains
    assert asked[9::10] == [1, 2, 1, 2, 1, 2]
    assert set(asked) - {1, 2} == {0}
    assert asked.count(0) == 54


def test_a_portfolio_of_one_is_that_one() -> None:
    alone = LocalSearch(PROBLEM, np.random.default_rng(0))
    both = portfolio("local"), alone
    for _ in range(15):
        asked = [searcher.ask(4) for searcher in both]
        assert np.array_equal(*asked)
        for searcher in both:
            searcher.tell(told(asked[0]))


def test_all_members_are_told_everything() -> None:
    search = portfolio("random", "local(initial=4)")
    theirs = np.random.default_rng(3).integers(0, 6, (3, 8))
    search.tell(told(theirs))
    asked = search.ask(5)
    search.tell(told(asked))
    for member in search.members:
        assert member.searcher.seen == 8


def test_a_failed_result_gained_nothing() -> None:
    search = portfolio("random")
    asked = search.ask(3)
    search.tell(Observations.exact(asked, np.full((3, 2), np.nan)))
    assert list(search.gains[0]) == [0.0] * 3


def test_first_populations_are_shared() -> None:
    search = portfolio("local(initial=20)", "nsga2(population=20)")
    owners = [owner for _ in range(10) for owner in asked_of(search, 4)]
    assert owners == [0] * 36 + [1] * 4  # the second is asked at the tenth
    for member in search.members:
        searcher = member.searcher
        assert not len(searcher.opening.take(4, searcher.foreign))


def test_what_a_member_was_given_to_start_with_is_asked() -> None:
    given = [[5, 2, 4, 1, 3, 2, 0, 0], [0, 2, 4, 1, 3, 2, 1, 1]]
    specs = "local", f"nsga2(population=20, start={given})"
    search = portfolio(*specs)
    asked = [row for _ in range(10) for row in told_rows(search)]
    assert all(row in asked for row in given)


def told_rows(search: Portfolio) -> list[list[int]]:
    genomes = search.ask(4)
    search.tell(told(genomes))
    return genomes.tolist()


def test_text_builds_it() -> None:
    text = "portfolio(searchers=[nsga2(population=12, mode=steady), local], window=9)"
    built = registry.create("searcher", text, problem=PROBLEM, rng=np.random.default_rng(0))
    assert built.window == 9
    assert built.members[0].searcher.population == 12
    assert isinstance(built.members[1].searcher, LocalSearch)


def test_impossible_options_are_refused() -> None:
    rng = np.random.default_rng(0)
    for searchers in ("local", ()):
        with pytest.raises(UsageError, match="give a list of one or more"):
            Portfolio(PROBLEM, rng, searchers=searchers)
    with pytest.raises(UsageError, match="window is 0; give an integer of 1 or more"):
        portfolio(window=0)
    with pytest.raises(FormatError, match="a portfolio of 1 was expected; got 2 members"):
        portfolio("random").load_state_dict(portfolio("random", "local").state_dict())


def test_a_member_that_proposes_no_genomes_is_named() -> None:
    class Careless(RandomSearch):
        def ask(self, n):
            return np.full((n, 6), 0.5)

    searcher = portfolio(Careless)
    with pytest.raises(InvalidGenome, match=r"the member .*Careless of the portfolio proposed"):
        searcher.ask(2)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_one_that_thinks_for_seconds_holds_up_nobody() -> None:
    class Slow(RandomSearch):  # local, so that it travels by value
        """Thinks for seconds, from its first genomes on."""

        def ask(self, n):
            time.sleep(8)
            return super().ask(n)

    search = portfolio(RandomSearch, Slow, remote=True)
    search.tell(told(search.ask(2)))
    began = time.monotonic()
    seen = []
    for _ in range(20):
        seen.append(search.ask(2))
        search.tell(told(seen[-1]))
    assert time.monotonic() - began < 6
    assert len(np.unique(np.concatenate(seen), axis=0)) == 40
    state = search.state_dict()  # waits for what is under way
    assert len(state["members"][1]["ahead"]) == 2
    for member in search.members:
        member.searcher.close()
    again = portfolio(RandomSearch, RandomSearch, seed=5, remote=True)
    again.load_state_dict(state)
    assert again.seen == search.seen
    assert again.members[1].ask(2).tolist() == state["members"][1]["ahead"]
    for member in again.members:
        member.searcher.close()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_what_a_remote_member_raises_when_it_is_told_ends_the_search() -> None:
    class Deaf(RandomSearch):
        """Cannot be told anything."""

        def _tell(self, observations):
            raise RuntimeError("cannot learn")

    search = portfolio(RandomSearch, Deaf, remote=True)

    def go_on() -> None:
        for _ in range(200):
            search.tell(told(search.ask(2)))
            time.sleep(0.05)

    with pytest.raises(RuntimeError, match="cannot learn"):
        go_on()
    for member in search.members:
        member.searcher.close()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_a_remote_member_that_was_killed_is_named() -> None:
    search = portfolio(RandomSearch, remote=True)
    search.tell(told(search.ask(2)))
    search.members[0].searcher.close()

    def go_on() -> None:
        for _ in range(3):
            search.tell(told(search.ask(2)))

    with pytest.raises(SearcherFailed, match="the process of the searcher RandomSearch has ended"):
        go_on()


@pytest.mark.ray
@pytest.mark.usefixtures("ray_cluster")
def test_remote_members_leave_the_processors_to_the_evaluators(tmp_path: Path) -> None:
    result = Search(
        "nasbench201",
        "pixel3",
        ["accuracy", "latency"],
        searcher="portfolio(searchers=[random, local, evolution], remote=true)",
        evaluations=40,
        executor="ray",
        family=None,
        storage=tmp_path / "run",
    ).run()
    assert len(result.evaluations) == 40


@pytest.mark.parametrize("remote", [False, True])
def test_an_unknown_member_is_named_before_anything_starts(remote: bool) -> None:
    with pytest.raises(UnknownName, match=r"unknown searcher 'nope2'\. .*Known: auto"):
        portfolio("local", "nope2", remote=remote)
    with pytest.raises(UsageError, match="the searcher 'local' takes no size; it takes: "):
        portfolio("local(size=3)", remote=remote)
