#!/usr/bin/env python3
"""Writes dit_2b.txt, dit_14b.txt and wan_vae.txt: key, shape and dtype of every tensor of the released Cosmos-Predict2.5
networks and of their video autoencoder, from the released layout as published (not from our code).
Run: make_manifest.py FOLDER"""
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


def vae_tensors():
    def conv(key, out, into, *kernel):
        yield key + ".weight", (out, into, *kernel), "fp32"
        yield key + ".bias", (out,), "fp32"

    def gamma(key, channels, axes=3):
        yield key + ".gamma", (channels, *[1] * axes), "fp32"

    def residual(key, into, out):
        yield from gamma(key + ".residual.0", into)
        yield from conv(key + ".residual.2", out, into, 3, 3, 3)
        yield from gamma(key + ".residual.3", out)
        yield from conv(key + ".residual.6", out, out, 3, 3, 3)
        if into != out:
            yield from conv(key + ".shortcut", out, into, 1, 1, 1)

    def middle(key):
        yield from residual(key + ".0", 384, 384)
        yield from gamma(key + ".1.norm", 384, 2)
        yield from conv(key + ".1.to_qkv", 3 * 384, 384, 1, 1)
        yield from conv(key + ".1.proj", 384, 384, 1, 1)
        yield from residual(key + ".2", 384, 384)

    yield from conv("encoder.conv1", 96, 3, 3, 3, 3)
    for i, widths in {0: (96, 96), 1: (96, 96), 3: (96, 192), 4: (192, 192), 6: (192, 384), 7: (384, 384), 9: (384, 384), 10: (384, 384)}.items():
        yield from residual(f"encoder.downsamples.{i}", *widths)
    for i, width in {2: 96, 5: 192, 8: 384}.items():
        yield from conv(f"encoder.downsamples.{i}.resample.1", width, width, 3, 3)
        if i > 2:
            yield from conv(f"encoder.downsamples.{i}.time_conv", width, width, 3, 1, 1)
    yield from middle("encoder.middle")
    yield from gamma("encoder.head.0", 384)
    yield from conv("encoder.head.2", 32, 384, 3, 3, 3)
    yield from conv("conv1", 32, 32, 1, 1, 1)
    yield from conv("conv2", 16, 16, 1, 1, 1)
    yield from conv("decoder.conv1", 384, 16, 3, 3, 3)
    yield from middle("decoder.middle")
    for first, into, out in ((0, 384, 384), (4, 192, 384), (8, 192, 192), (12, 96, 96)):
        for i in range(3):
            yield from residual(f"decoder.upsamples.{first + i}", out if i else into, out)
    for i, width in {3: 384, 7: 384, 11: 192}.items():
        yield from conv(f"decoder.upsamples.{i}.resample.1", width // 2, width, 3, 3)
        if i < 11:
            yield from conv(f"decoder.upsamples.{i}.time_conv", 2 * width, width, 3, 1, 1)
    yield from gamma("decoder.head.0", 96)
    yield from conv("decoder.head.2", 3, 96, 3, 3, 3)


def write(path, entries):
    lines = sorted(f"{key} {'x'.join(map(str, shape)) or 'scalar'} {dtype}" for key, shape, dtype in entries)
    path.write_text("\n".join(lines) + "\n")


def main():
    folder = pathlib.Path(sys.argv[1])
    write(folder / "wan_vae.txt", vae_tensors())
    for name, width, blocks in (("2b", 2048, 28), ("14b", 5120, 36)):
        write(folder / f"dit_{name}.txt", tensors(width, blocks))


main()
