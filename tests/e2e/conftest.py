"""The end-to-end tests run in a lab (tests/lab): this process and all it starts live in its near
namespace, so that ports cannot clash and no packet leaves the machine."""
import os
import pathlib
import sys

import pytest

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))
sys.path.insert(0, str(HERE.parent / "lab"))

import lab as lab_module  # noqa: E402


# For every test, also one that never names it: with no devices given, `up` watches the machine's own
# gateway and resolvers, and no test may send them anything.
@pytest.fixture(scope="session", autouse=True)
def lab():
    why = lab_module.possible()
    if why:
        pytest.skip(why)
    with lab_module.Lab(seconds=1800, name=f"gema-e2e-{os.getpid()}") as made:
        made.enter()
        yield made


# Each file begins with a network in which everything answers, whatever the one before left behind.
@pytest.fixture(scope="module", autouse=True)
def everything_answers(lab):
    yield
    lab.answer_all()
