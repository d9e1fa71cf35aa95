"""A BF16 matrix product of known size, over and over: prints one JSON line with the rate that the clock gives.

usage: matmul.py SECONDS [N]; the first second warms up and is not counted.
"""
import json
import sys
import time

import torch

seconds = float(sys.argv[1])
n = int(sys.argv[2]) if len(sys.argv) > 2 else 8192
a = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
b = torch.randn(n, n, device="cuda", dtype=torch.bfloat16)
out = torch.empty(n, n, device="cuda", dtype=torch.bfloat16)


def run(duration):
    done = 0
    torch.cuda.synchronize()
    start = time.monotonic()
    while time.monotonic() - start < duration:
        for _ in range(20):
            torch.matmul(a, b, out=out)
        torch.cuda.synchronize()
        done += 20
    return done, time.monotonic() - start


run(1)
started_at = time.time()
products, took = run(seconds)
print(
    json.dumps(
        {
            "flops": products * 2 * n**3 / took,
            "startedAtMs": started_at * 1000,
            "endedAtMs": time.time() * 1000,
            "products": products,
            "n": n,
            "device": torch.cuda.get_device_name(),
            "visible": torch.cuda.device_count(),
        }
    )
)
