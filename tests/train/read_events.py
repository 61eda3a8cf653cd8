"""Prints what TensorBoard makes of a folder of event files: {tag: [[step, value], ...]}, images as [step, height, width]."""
import json
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

accumulator = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0})
accumulator.Reload()
tags = accumulator.Tags()
found = {tag: [[e.step, e.value] for e in accumulator.Scalars(tag)] for tag in tags["scalars"]}
found |= {tag: [[e.step, e.height, e.width] for e in accumulator.Images(tag)] for tag in tags["images"]}
print(json.dumps(found, sort_keys=True))
