"""Trains the miniature SDXL + SVD family on the toy world, one module a model.

Every training run stands alone: fp16 weights in, fp16 weights out, data rendered on the fly. The loops are
plain functions of a typed configuration; `python -m miniature` runs them from a YAML file. This project uses the
package i2v3d, which knows nothing of it.
"""
