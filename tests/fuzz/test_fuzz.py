"""A short run of every fuzz target over its corpus. Longer ones: tests/fuzz/run."""
import importlib.machinery
import importlib.util
import os
import pathlib
import random

import pytest

HERE = pathlib.Path(__file__).parent


def load_run():
    loader = importlib.machinery.SourceFileLoader("fuzz_run", str(HERE / "run"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("fuzz_run", loader))
    loader.exec_module(module)
    return module


run = load_run()
SECONDS = 4


@pytest.fixture(scope="module")
def built():
    clang = run.compiler()
    if clang is None:
        pytest.skip("no clang++ with libFuzzer here; fuzz_corpus_test gives the corpus to the same targets")
    wrong = run.build(clang)
    assert not wrong, wrong


@pytest.mark.timeout(900)
@pytest.mark.parametrize("target", run.targets())
def test_finds_nothing_in_a_short_run(target, built):
    seed = int(os.environ.get("GEMA_SEED", "0")) or random.randrange(1, 2**31)
    print(f"seed {seed}")
    code, output = run.fuzz(target, SECONDS, seed)
    assert code == 0, f"{target}, seed {seed}; the input is in {run.FINDINGS}:\n{output[-6000:]}"
    executed = [line for line in output.splitlines() if line.startswith("stat::number_of_executed_units")]
    assert executed and int(executed[0].split()[-1]) > 100, output[-2000:]
