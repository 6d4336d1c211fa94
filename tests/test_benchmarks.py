"""What the benchmarks say of their figures is right: reading wrk, ratios within rounds, bars, tables, the kept file."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks import bars, kv, results, tables, wrk
from benchmarks.bars import Bar
from benchmarks.measure import Figure, rotated, sample
from benchmarks.results import Results, Sample, Spread

WRK = """\
Running 2s test @ http://127.0.0.1:8000/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     3.35ms    0.91ms  20.01ms   95.24%
    Req/Sec    19.22k     1.03k   20.44k    75.00%
  Latency Distribution
     50%    3.20ms
     75%    3.41ms
     90%    3.80ms
     99%    7.55ms
  38321 requests in 2.00s, 5.59MB read
Requests/sec:  19130.94
Transfer/sec:      2.79MB
"""


def of(samples: list[Sample], *, more_is_better: bool = True, cases: list[str] | None = None) -> Results:
    return Results(
        name="http",
        title="HTTP",
        unit="requests/s",
        more_is_better=more_is_better,
        subjects=["ours"],
        cases=cases or ["hello"],
        contestants=["ours", "theirs"],
        notes="In a test.",
        about={
            "date": "today", "command": "nox", "cpu": "abacus", "cores": 2, "system": "paper", "python": "CPython",
            "wrk": "", "versions": {"trio": "0.29"},
        },
        samples=samples,
    )  # fmt: skip


def rounds(contestant: str, *values: float, **extra: float) -> list[Sample]:
    return [Sample("hello", contestant, number, value, extra=extra) for number, value in enumerate(values)]


def test_wrk_is_read() -> None:
    assert wrk.parse(WRK) == pytest.approx((38321, 19130.94, 3.2e-3, 7.55e-3))


@pytest.mark.parametrize(("text", "seconds"), [("870.00us", 870e-6), ("1.25s", 1.25), ("2.00m", 120.0)])
def test_units_of_latency(text: str, seconds: float) -> None:
    assert wrk.parse(WRK.replace("7.55ms", text)).p99 == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("output", "why"),
    [
        (WRK + "  Non-2xx or 3xx responses: 12\n", "Non-2xx or 3xx responses: 12"),
        (WRK + "  Socket errors: connect 0, read 3, write 0, timeout 0\n", "read 3"),
        (WRK.replace("38321 requests", "0 requests"), "not one"),
        (WRK.replace("99%", "98%"), "latency of 99%"),
        ("unable to connect", "nothing of requests"),
    ],
)
def test_a_load_that_went_wrong_gives_no_figure(output: str, why: str) -> None:
    with pytest.raises(wrk.LoadFailed, match=why):
        wrk.parse(output)


def test_redis_benchmark_is_read() -> None:
    output = (
        '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",'
        '"max_latency_ms"\n"SET","19230.77","0.03","0.02","0.032","0.04","1.055","2.1"\n'
    )
    assert kv.parse(output, 5000) == pytest.approx((5000, 19230.77, 32e-6, 1055e-6))
    with pytest.raises(wrk.LoadFailed, match="nothing of requests"):
        kv.parse("Error from server", 5000)


def test_ratios_are_of_figures_of_one_round() -> None:
    # The machine was half as fast in the second round: the medians would say 1.5.
    both = of([*rounds("ours", 100, 60, 120), *rounds("theirs", 80, 40, 100)])
    assert both.advantage("hello", "ours", "theirs") == Spread(1.25, 1.2, 1.5, 3)
    assert both.advantage("hello", "theirs", "ours") == pytest.approx((0.8, 2 / 3, 1 / 1.2, 3))


def test_where_less_is_better_the_ratio_is_turned_over() -> None:
    both = of([*rounds("ours", 2.0), *rounds("theirs", 3.0)], more_is_better=False)
    assert both.advantage("hello", "ours", "theirs") == Spread(1.5, 1.5, 1.5, 1)


def test_a_round_that_one_has_failed_in_is_not_compared() -> None:
    failed = Sample("hello", "theirs", 1, failure="ServerFailed: ended with 1")
    both = of([*rounds("ours", 100, 1000), *rounds("theirs", 50), failed])
    assert both.advantage("hello", "ours", "theirs") == Spread(2.0, 2.0, 2.0, 1)
    assert "hello, theirs, in 1 rounds: ServerFailed: ended with 1" in tables.as_text(both)
    assert "- hello, theirs, in 1 rounds: ServerFailed: ended with 1" in tables.as_markdown(both)


def test_who_fails_is_named_with_the_reason() -> None:
    def refuse() -> Figure:
        raise ImportError("No module named 'theirs'\nand more")

    assert sample("hello", "theirs", 2, refuse) == Sample(
        "hello", "theirs", 2, failure="ImportError: No module named 'theirs'"
    )
    assert sample("hello", "ours", 2, lambda: Figure(1.0, {"p50 ms": 2.0})).extra == {"p50 ms": 2.0}


def test_everyone_comes_first_once() -> None:
    assert [rotated("abc", by) for by in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated([], 1) == []


@pytest.mark.parametrize(
    ("bar", "more_is_better", "met"),
    [
        (Bar("http", "hello", 1.25, "theirs", "ours"), True, True),
        (Bar("http", "hello", 1.26, "theirs", "ours"), True, False),
        (Bar("http", "hello", 0.8, "theirs", "ours"), False, True),
        (Bar("http", "hello", 100.0, None, "ours"), False, True),
        (Bar("http", "hello", 99.0, None, "ours"), False, False),
        (Bar("http", "hello", 1.0, "nobody", "ours"), True, None),
    ],
)
def test_bars(bar: Bar, more_is_better: bool, met: bool | None) -> None:
    both = of([*rounds("ours", 100, 60, 120), *rounds("theirs", 80, 40, 100)], more_is_better=more_is_better)
    (verdict,) = bars.verdicts([both], [bar])
    assert verdict.met is met
    assert {True: "met", False: "NOT MET", None: "not measured"}[met] in tables.bars_as_text([verdict])


def test_bars_of_what_was_not_to_be_measured_are_left_out() -> None:
    assert bars.verdicts([of(rounds("ours", 1))], [Bar("idle", "hello", 1.0), Bar("http", "file", 1.0)]) == []


@pytest.mark.parametrize(
    ("bar", "rounds_failed"),
    [
        (Bar("http", "hello", 1.0, "theirs", "ours"), 1),
        (Bar("http", "hello", 1000.0, None, "ours"), 1),
        (Bar("http", "hello", 1.0, "theirs", "ours"), 3),
        (Bar("http", "hello", 1000.0, None, "ours"), 3),
        (Bar("http", "hello", 1.0, "nobody", "ours"), 3),
    ],
)
def test_who_fails_in_any_round_meets_no_bar(bar: Bar, rounds_failed: int) -> None:
    ours = rounds("ours", 200, 200, 200)[rounds_failed:]
    ours += [Sample("hello", "ours", number, failure="LoadFailed") for number in range(rounds_failed)]
    (verdict,) = bars.verdicts([of([*ours, *rounds("theirs", 100, 100, 100)])], [bar])
    assert verdict.met is False
    assert f"FAILED ({rounds_failed} of 3 rounds)" in tables.bars_as_text([verdict])
    assert f"FAILED ({rounds_failed} of 3 rounds)" in tables.bars_as_markdown([verdict])


def test_a_bar_is_not_measured_if_only_the_other_one_has_failed() -> None:
    theirs = Sample("hello", "theirs", 0, failure="ImportError")
    (verdict,) = bars.verdicts([of([*rounds("ours", 1), theirs])], [Bar("http", "hello", 1.0, "theirs", "ours")])
    assert verdict.met is None
    assert "not measured" in tables.bars_as_text([verdict])


@pytest.mark.parametrize(
    ("value", "bound", "shown"),
    [(0.996, 1.0, "0.996"), (0.99996, 1.0, "0.99996"), (1.0, 1.0, "1.00"), (1.31, 1.0, "1.31"), (25.04, 25, "25.04")],
)
def test_what_misses_a_bar_does_not_look_as_if_it_met_it(value: float, bound: float, shown: str) -> None:
    assert tables.number(value, bound) == shown


def test_bars_in_markdown() -> None:
    both = of([*rounds("ours", 99.6, 99.6), *rounds("theirs", 100, 100)])
    verdicts = bars.verdicts([both], [Bar("http", "hello", 1.0, "theirs", "ours")])
    last = tables.bars_as_markdown(verdicts).splitlines()[-1]
    assert last == "| http: hello | ours | ≥ 1 x theirs | 0.996 | 0.996 … 0.996 | 2 | NOT MET |"


def test_the_projects_bars_are_of_what_there_is() -> None:
    from benchmarks.__main__ import BENCHMARKS

    for bar in bars.BARS:
        benchmark = BENCHMARKS[bar.benchmark]
        assert bar.case in benchmark.cases
        assert bar.contestant in benchmark.contestants
        assert bar.versus is None or bar.versus in benchmark.contestants


@pytest.mark.parametrize(("what", "status"), [("http", wrk.MISSING), ("framing", None)])
def test_wrk_is_looked_for_before_anything_starts(
    what: str, status: str | None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from benchmarks import __main__ as program

    started: list[object] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(program, "run_all", lambda *plan: started.append(plan))
    if status is None:
        program.main([what])
        assert started
    else:
        with pytest.raises(SystemExit) as caught:
            program.main([what])
        assert caught.value.code == status
        assert not started


def test_table() -> None:
    both = of([*rounds("ours", 100, 60, 120, **{"p50 ms": 3.25}), *rounds("theirs", 80, 40, 100)])
    assert tables.as_text(both).splitlines()[3:] == [
        "hello   median  spread  ours is … times as good  p50 ms",
        "ours       100     60%                             3.25",
        "theirs    80.0     75%       1.25 [1.20 … 1.50]",
    ]


def test_markdown() -> None:
    both = of([*rounds("ours", 12345), *rounds("theirs", 9876)])
    assert tables.as_markdown(both).splitlines()[2:6] == [
        "|  | hello |",
        "| --- | ---: |",
        "| **ours** | 12,345 |",
        "| theirs | 9,876 (1.25) |",
    ]
    assert tables.origin(both) == "today, `nox`: abacus, 2 cores, paper, CPython, no wrk; trio 0.29."


def test_growth_is_of_the_largest_sizes() -> None:
    cases = [f"lines: {size} KiB" for size in (1, 2, 4, 8)]
    samples = [Sample(case, "ours", 0, value) for case, value in zip(cases, (5.0, 6.0, 12.0, 24.0), strict=True)]
    samples += [Sample(case, "theirs", 0, value) for case, value in zip(cases, (1.0, 4.0, 16.0), strict=False)]
    samples += [Sample(cases[3], "theirs", 0, failure="TooSlow: skipped")]
    grown = of(samples, cases=cases)
    assert grown.kinds() == {"lines": cases}
    assert tables.as_text(grown).splitlines()[3:6] == [
        "lines   1 KiB  2 KiB  4 KiB    8 KiB  for twice as much",
        "ours     5.00   6.00   12.0     24.0          2.0 times",
        "theirs   1.00   4.00   16.0  TooSlow          4.0 times",
    ]


def test_what_is_kept_comes_back(tmp_path: Path) -> None:
    both = of([*rounds("ours", 100.5, **{"p50 ms": 1.5}), Sample("hello", "theirs", 0, failure="ServerFailed")])
    path = tmp_path / "results" / "http.json"
    results.write(both, path)
    assert results.read(path) == both
    assert sum('"contestant"' in line for line in path.read_text().splitlines()) == 2
