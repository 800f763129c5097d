"""Action anticipation (EPIC-Kitchens-100)."""
