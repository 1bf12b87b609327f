"""
Several hosts: scheduler and workers in separate network namespaces, one of which is disconnected during the run.

    sudo python benchmarks/hosts.py --out benchmarks/results

A bridge connects the namespaces. During the season one worker's link is set down for longer than the scheduler's
heartbeat timeout, and then up again. Needs Linux and root.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

from chaos import WORKER_TTL_S, differences, write_season
from cluster import PYTHON, Cluster, machine

from cascade.runs.run import open_run

BRIDGE, NETWORK = "cascade0", "10.203.77"
N_WORKERS = 2
DISCONNECTED_S = 2.0 * WORKER_TTL_S


def ip(*words: str) -> None:
    """Run `ip`."""
    subprocess.run(["ip", *words], check=True, capture_output=True)


@contextmanager
def hosts(n: int):
    """Namespaces ghost0, ghost1, …, each with an address, on one bridge; this process has the address .1."""
    names = [f"ghost{k}" for k in range(n)]
    try:
        ip("link", "add", BRIDGE, "type", "bridge")
        ip("addr", "add", f"{NETWORK}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        for k, name in enumerate(names):
            ip("netns", "add", name)
            ip("link", "add", f"veth{name}", "type", "veth", "peer", "name", "eth0", "netns", name)
            ip("link", "set", f"veth{name}", "master", BRIDGE, "up")
            ip("-n", name, "addr", "add", f"{NETWORK}.{k + 2}/24", "dev", "eth0")
            ip("-n", name, "link", "set", "eth0", "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        subprocess.run(["ip", "link", "del", BRIDGE], capture_output=True, check=False)


def measure(work: Path, n: int, batch: int) -> dict[str, object]:
    """Run a season over three hosts, one of which is disconnected for a while."""
    manifest, corrupt = write_season(work / "season", n)
    words = [PYTHON, "-m", "cascade", "run", str(manifest), "--stub", "--batch", str(batch)]
    subprocess.run([*words, "--quiet", "--out", str(work / "quiet")], check=True, capture_output=True)
    events: Counter[str] = Counter()
    run = work / "RUN"
    with hosts(1 + N_WORKERS) as names:
        cluster = Cluster(
            work / "logs",
            N_WORKERS,
            environment={"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": f"{WORKER_TTL_S}s"},
            wrap=tuple(("ip", "netns", "exec", name) for name in names),
            host=f"{NETWORK}.2",
        )
        try:
            cluster.start()
            command = [*words, "--scheduler", cluster.address, "--out", str(run)]
            with (work / "client.log").open("wb") as log:
                client = subprocess.Popen(command, stdout=log, stderr=log)
            down_since = None
            n_batches = -(-n // batch)
            while client.poll() is None:
                done = len(list((run / "ledger").glob("batch-*.json"))) / n_batches
                if done > 0.2 and not events["disconnected"]:
                    ip("link", "set", f"veth{names[-1]}", "down")
                    down_since = time.monotonic()
                    events["disconnected"] += 1
                if down_since is not None and time.monotonic() - down_since > DISCONNECTED_S:
                    ip("link", "set", f"veth{names[-1]}", "up")
                    down_since = None
                    events["reconnected"] += 1
                cluster.start()
                time.sleep(0.5)
            if client.returncode:
                raise RuntimeError((work / "client.log").read_text()[-2000:])
        finally:
            cluster.stop()
    return {
        "n": n, "batch": batch, "machine": machine(), "happened": dict(events),
        "verdicts": differences(open_run(run), open_run(work / "quiet"), corrupt),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--n", type=int, default=5000)
    parser.add_argument("--batch", type=int, default=32)
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="hosts-"))
    result = measure(work, options.n, options.batch)
    shutil.rmtree(work)
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "hosts.json").write_text(json.dumps(result, indent=1) + "\n")
    counts = ", ".join(f"{event} {times} times" for event, times in result["happened"].items())
    lines = [
        f"{result['n']:,} exposures, a scheduler and {N_WORKERS} workers in separate network namespaces; "
        f"{result['machine']}. One worker was disconnected for {DISCONNECTED_S:.0f} s (heartbeat timeout of the "
        f"scheduler: {WORKER_TTL_S} s): {counts}. `python benchmarks/hosts.py --out benchmarks/results`",
        "",
        "| check | passed |",
        "|---|---|",
        *(f"| {name} | {'yes' if verdict else '**NO**'} |" for name, verdict in result["verdicts"].items()),
    ]
    (options.out / "hosts.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


if __name__ == "__main__":
    main()
