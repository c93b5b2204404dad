"""One-step generators, distilled from a diffusion model by score implicit matching."""
