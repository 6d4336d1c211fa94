"""The project's checks: `nox` runs them all, `nox -s tests` one of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import nox

PYPROJECT = nox.project.load_toml("pyproject.toml")
OLDEST_TRIO = "trio==0.29.0"
RUN_TESTS = ("python", "-P", "-m", "pytest")  # -P: what is imported is the installed wheel, not the checkout

nox.options.sessions = ["lint", "types", "tests", "oldest_trio", "coverage", "build"]
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "venv"


def installed_pythons() -> list[str]:
    """Those of the supported versions that are on this machine, and start."""
    versions = ["3.11", "3.12", "3.13", "3.14"]
    return [version for version in versions if starts(f"python{version}")]


def starts(python: str) -> bool:
    return bool(shutil.which(python)) and subprocess.run([python, "-c", ""], capture_output=True).returncode == 0  # noqa: PLW1510


def install_group(session: nox.Session, *groups: str) -> None:
    session.install(*nox.project.dependency_groups(PYPROJECT, *groups))


def install_wheel(session: nox.Session) -> None:
    """Build the wheel and install it, so that the tests see what a user gets."""
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(dist), ".")
    (wheel,) = dist.glob("*.whl")
    session.install(str(wheel))
    session.install("--force-reinstall", "--no-deps", str(wheel))  # also into an environment that is used again


@nox.session
def lint(session: nox.Session) -> None:
    """Format and style."""
    install_group(session, "lint")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict on everything, pyright on the package, and every public name fully typed."""
    install_group(session, "types")
    session.install("--quiet", ".", "nox")
    session.run("mypy")
    session.run("pyright", "--pythonpath", shutil.which("python", path=session.bin) or "python")
    session.run("pyright", "--verifytypes", "trio_chat", "--ignoreexternal")


@nox.session(python=installed_pythons())
def tests(session: nox.Session) -> None:
    """The tests, examples included, against the installed wheel."""
    install_group(session, "test")
    install_wheel(session)
    session.run(*RUN_TESTS, *session.posargs)


@nox.session
def oldest_trio(session: nox.Session) -> None:
    """The tests on the oldest Trio that is supported."""
    install_group(session, "test")
    install_wheel(session)
    session.install(OLDEST_TRIO)
    session.run(*RUN_TESTS, *session.posargs)


@nox.session
def coverage(session: nox.Session) -> None:
    """Branch coverage of the tests; fails below the bar in pyproject.toml."""
    install_group(session, "test")
    install_wheel(session)
    session.run("python", "-P", "-m", "coverage", "run", "-m", "pytest", *session.posargs)
    session.run("python", "-P", "-m", "coverage", "report")


@nox.session
def examples(session: nox.Session) -> None:
    """Only the tests that run the examples, as real processes."""
    install_group(session, "test")
    install_wheel(session)
    session.run(*RUN_TESTS, "tests/examples", *session.posargs)


@nox.session
def build(session: nox.Session) -> None:
    """The source distribution, and from it the wheel."""
    session.install("build", "twine")
    dist = Path(session.create_tmp()) / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(dist))
    session.run("twine", "check", "--strict", *map(str, dist.glob("*")))


@nox.session
def bench(session: nox.Session) -> None:
    """The benchmarks; figures of one run can be compared with each other, not with those of another machine.

    `nox -s bench -- --help` says how to run a part of them.
    """
    install_group(session, "bench")
    install_wheel(session)
    session.run("python", "-P", "-m", "benchmarks", *session.posargs, env={"PYTHONPATH": "tests"})
