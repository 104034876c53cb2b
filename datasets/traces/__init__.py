"""Recordings of runs with one injected cause each, for what kernel traces must tell."""
