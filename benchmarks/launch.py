"""Runs a command and prints, as JSON, its output, its seconds and its largest process's memory.

`python -m benchmarks.launch COMMAND ...`: a process so small that the memory of its children is
theirs alone; a process starts with its parent's peak.
"""

import json
import resource
import subprocess
import sys
import time

if __name__ == "__main__":
    start = time.perf_counter()
    done = subprocess.run(sys.argv[1:], stdout=subprocess.PIPE, text=True)
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss  # KiB on Linux
    print(json.dumps({"output": done.stdout, "seconds": seconds, "peak_kib": peak}))
    sys.exit(done.returncode)
