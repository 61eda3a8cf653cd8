#!/usr/bin/env python3
"""Writes dit_2b.txt and dit_14b.txt: key, shape and dtype of every tensor of the released Cosmos-Predict2.5 networks, from
the released layout as published (not from our code). Run: make_manifest.py FOLDER"""
import pathlib
import sys


def tensors(width, blocks, context=1024, rank=256, head_dim=128):
    def bf16(key, *shape):
        return key, shape, "bf16"

    yield bf16("x_embedder.proj.1.weight", width, 18 * 4)
    yield bf16("t_embedder.1.linear_1.weight", width, width)
    yield bf16("t_embedder.1.linear_2.weight", 3 * width, width)
    yield bf16("t_embedding_norm.weight", width)
    yield bf16("crossattn_proj.0.weight", context, 28 * 3584)
    yield bf16("crossattn_proj.0.bias", context)
    for i in range(blocks):
        for attention, source in (("self_attn", width), ("cross_attn", context)):
            p = f"blocks.{i}.{attention}."
            yield bf16(p + "q_proj.weight", width, width)
            yield bf16(p + "k_proj.weight", width, source)
            yield bf16(p + "v_proj.weight", width, source)
            yield bf16(p + "output_proj.weight", width, width)
            yield bf16(p + "q_norm.weight", head_dim)
            yield bf16(p + "k_norm.weight", head_dim)
        yield bf16(f"blocks.{i}.mlp.layer1.weight", 4 * width, width)
        yield bf16(f"blocks.{i}.mlp.layer2.weight", width, 4 * width)
        for part in ("self_attn", "cross_attn", "mlp"):
            yield bf16(f"blocks.{i}.adaln_modulation_{part}.1.weight", rank, width)
            yield bf16(f"blocks.{i}.adaln_modulation_{part}.2.weight", 3 * width, rank)
    yield bf16("final_layer.linear.weight", 4 * 16, width)
    yield bf16("final_layer.adaln_modulation.1.weight", rank, width)
    yield bf16("final_layer.adaln_modulation.2.weight", 2 * width, rank)
    yield bf16("pos_embedder.seq", 128)
    yield bf16("pos_embedder.dim_spatial_range", 21)
    yield bf16("pos_embedder.dim_temporal_range", 22)
    for counter in ("video_sample_counter", "image_sample_counter", "iteration"):
        yield f"accum_{counter}", (), "int64"
    yield "accum_train_in_hours", (), "bf16"


def main():
    folder = pathlib.Path(sys.argv[1])
    for name, width, blocks in (("2b", 2048, 28), ("14b", 5120, 36)):
        lines = sorted(f"{key} {'x'.join(map(str, shape)) or 'scalar'} {dtype}" for key, shape, dtype in tensors(width, blocks))
        (folder / f"dit_{name}.txt").write_text("\n".join(lines) + "\n")


main()
