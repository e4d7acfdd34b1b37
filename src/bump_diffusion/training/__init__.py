"""Training: the noise schedule, samplers, the trainer"""
