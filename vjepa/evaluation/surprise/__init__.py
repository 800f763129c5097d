"""Surprise: how far what happens is from what a model predicts (violation of expectation)."""
