"""TinySAM: promptable segmentation. Networks, official checkpoints, distillation, graphs."""
