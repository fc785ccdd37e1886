"""What users want of LMStrix, one module per kind of intention; the façade is all of them."""
