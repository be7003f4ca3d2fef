"""What the network computes, run on a computer: golden model, cycle model and simulation."""
