"""What the benchmarks say to arguments that cannot be meant; what they measure is no test's business."""

import pathlib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
# As Python does with a script that it is started with.
START = """
import runpy, sys
del sys.argv[0]
sys.path[0] = "benchmarks"
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MISTAKES = (
    ("model_step.py", "--mode=both", "must be one or more of forward, train, separated by commas. Received: 'both'"),
    ("model_step.py", "101", "Arguments are given as --flag=value. Received: 101"),
    ("detection.py", "--size=96", "must be 2 whole numbers, each at least 80, separated by commas. Received: '96'"),
    ("onednn.py", "--only=bread", "must match some of: product 2048 x 2048 x 2048; "),
    ("sparse_inference.py", "--models=cifar_five", "such as 50, 3_4_6_3 or cifar_5, separated by commas"),
    ("sparse_inference.py", "--plot=map.bread", "--plot must end in one of "),
    ("stochastic_depth.py", "--survival=0.5,nan", "must be one or more shares in (0, 1], separated by commas"),
    ("serving_soak.py", "--seconds=nan", "nan is not number >= 4"),
    ("kill_and_resume.py", "--steps=0", "0 is not a positive integer"),
    ("input_pipeline.py", "--batches=3", "must be an even number"),
    ("iterators.py", "--limit=0", "0.0 is not number >= 1"),
)


@pytest.mark.parametrize(("script", "argument", "sentence"), MISTAKES, ids=lambda text: text.partition(" ")[0])
def test_arguments_that_cannot_be_meant_are_refused_in_a_sentence(run_script, tmp_path, script, argument, sentence):
    (tmp_path / "start.py").write_text(START)
    status, printed, errors = run_script(tmp_path / "start.py", f"benchmarks/{script}", argument)
    assert status == 1 and "Traceback" not in errors
    # absl prints on the standard output how to get help; nothing was measured.
    assert sentence in printed + errors and "rounds" not in printed


def test_a_share_of_flops_that_cannot_be_reached_is_refused(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    import planting

    # Of a centre from 1.25 to -.25: three quarters of the FLOPs can halt.
    def share_of(centre):
        return 0.25 + 0.75 * (1.25 - centre) / 1.5

    assert share_of(planting.find_centre(0.4, share_of)) == pytest.approx(0.4, abs=0.01)
    with pytest.raises(ValueError, match=r"0\.25 to 1\.00, .*Received: 0\.2; nearest to it is 0\.25"):
        planting.find_centre(0.2, share_of)
