"""What a stage begins with: target, observables, device, ranks, checks, and what measures it."""
