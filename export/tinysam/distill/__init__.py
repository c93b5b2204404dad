"""Full-stage distillation of SAM-like networks (Shu et al., TinySAM, AAAI 2025), and training without a teacher."""
