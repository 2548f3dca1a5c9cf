"""`python -m benchmarks.gpu`: everything that is to be measured on a GPU, in one run; see docs/guide/gpu.md."""
