"""torch_load.py OURS THEIRS: loads OURS with torch.load(weights_only=True) and saves it again as THEIRS.

Exits with 77 where Python has no torch.
"""
import sys
import zipfile

try:
    import torch
except ImportError:
    sys.exit(77)
if not hasattr(torch, "load"):  # a folder of headers and libraries alone
    sys.exit(77)

ours, theirs = sys.argv[1:]
assert zipfile.ZipFile(ours).testzip() is None, "a CRC is wrong"
loaded = torch.load(ours, weights_only=True)
mapped = torch.load(ours, weights_only=True, mmap=True)
for name, tensor in loaded.items():
    left, right = tensor.contiguous(), mapped[name].contiguous()
    assert left.dtype == right.dtype and left.shape == right.shape, name
    assert left.untyped_storage().tolist() == right.untyped_storage().tolist(), name
torch.save(loaded, theirs)
