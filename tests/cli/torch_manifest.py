"""torch_manifest.py FILE: loads FILE with torch.load(weights_only=True) and prints "NAME DTYPE SHAPE SUM" lines.

SUM is the exact sum of the elements' bytes. Exits with 77 where Python has no torch.
"""
import sys

try:
    import torch
except ImportError:
    sys.exit(77)
if not hasattr(torch, "load"):  # a folder of headers and libraries alone
    sys.exit(77)

for name, tensor in torch.load(sys.argv[1], weights_only=True, mmap=True).items():
    total = tensor.reshape(-1).view(torch.uint8).sum(dtype=torch.int64).item()
    print(name, str(tensor.dtype).removeprefix("torch."), "x".join(map(str, tensor.shape)) or "scalar", total)
