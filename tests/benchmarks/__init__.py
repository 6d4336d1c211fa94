"""The benchmarks: `nox -s bench` runs them all, `nox -s bench -- --help` says how to run a part."""
