"""The PyTorch/MMDetection side. Only the nursery and what is forked from it import torch and mmdet."""
