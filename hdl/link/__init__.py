"""The way from a host to the accelerator and back: serial line, frames, packets, debug tap."""
