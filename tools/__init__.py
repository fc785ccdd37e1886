"""Programs that make what the project ships; never imported by the product."""
