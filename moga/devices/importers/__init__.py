"""Readers of what other programs measured; each file is one program's format.

- `rows`: moga's own schema of times (CSV, Parquet); timm's and torch's benchmark tables.
- `trtexec`, `tflite`, `ort`: what TensorRT, TensorFlow Lite and ONNX Runtime write.
- `pixel`: ProxylessNAS's table of a Pixel phone, which ships with moga.
- `detect`: any of them, by what is in the file. `base`: what all readers give.

`moga.devices.blockfiles` writes the blocks to be timed elsewhere, and `moga.devices.imported` turns
readings into a latency table.
"""
