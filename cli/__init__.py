"""Turns a trained MobileNet-class network into an FPGA accelerator."""
