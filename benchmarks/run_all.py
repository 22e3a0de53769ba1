"""Run every benchmark script, one after the other, and report which ones finish and how long they take.

python benchmarks/run_all.py            # everything, results into benchmarks/results
python benchmarks/run_all.py --quick    # a small slice of each; results are thrown away
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).parent
#: Modules that scripts share, and studies that are no benchmark of the present code.
NOT_SCRIPTS = {"harness", "run_all", "macro_descriptions", "tune_problems", "train_language_models"}


def main() -> None:
    """Run the scripts; exit 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small slice of each script, results not kept")
    parser.add_argument("--only", nargs="*", help="names of scripts to run")
    arguments = parser.parse_args()
    scripts = [path for path in sorted(HERE.glob("*.py")) if path.stem not in NOT_SCRIPTS]
    if arguments.only:
        scripts = [path for path in scripts if path.stem in arguments.only]
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]))
    failed = []
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.quick:
            environment["PIMJAX_BENCHMARK_RESULTS"] = scratch
        for script in scripts:
            begin = time.perf_counter()
            command = [sys.executable, str(script), *(["--quick"] if arguments.quick else [])]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
            seconds = time.perf_counter() - begin
            print(f"{'ok' if done.returncode == 0 else 'FAILED':<7} {script.stem:<28} {seconds:7.1f} s", flush=True)
            if done.returncode:
                failed.append(script.stem)
                print(done.stdout[-2000:], done.stderr[-4000:], sep="\n")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
